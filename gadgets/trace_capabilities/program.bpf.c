// SPDX-License-Identifier: GPL-2.0-only
//
// Shows each time that the kernel asks whether a task has a capability, and the answer.
//
// The tracepoint cap_capable tells of it on Linux 6.14 and newer; before that the function of the same name is watched where it
// returns. How it was asked (is the answer written to the audit log?) only the function knows: where it can be traced, both
// are put together.

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include <gadget/buffer.h>
#include <gadget/common.h>
#include <gadget/filter.h>
#include <gadget/kernel_stack_map.h>
#include <gadget/macros.h>
#include <gadget/regs.h>
#include <gadget/syscall.h>
#include <gadget/types.h>

// include/uapi/linux/capability.h
enum capability {
	CAP_CHOWN = 0,
	CAP_DAC_OVERRIDE = 1,
	CAP_DAC_READ_SEARCH = 2,
	CAP_FOWNER = 3,
	CAP_FSETID = 4,
	CAP_KILL = 5,
	CAP_SETGID = 6,
	CAP_SETUID = 7,
	CAP_SETPCAP = 8,
	CAP_LINUX_IMMUTABLE = 9,
	CAP_NET_BIND_SERVICE = 10,
	CAP_NET_BROADCAST = 11,
	CAP_NET_ADMIN = 12,
	CAP_NET_RAW = 13,
	CAP_IPC_LOCK = 14,
	CAP_IPC_OWNER = 15,
	CAP_SYS_MODULE = 16,
	CAP_SYS_RAWIO = 17,
	CAP_SYS_CHROOT = 18,
	CAP_SYS_PTRACE = 19,
	CAP_SYS_PACCT = 20,
	CAP_SYS_ADMIN = 21,
	CAP_SYS_BOOT = 22,
	CAP_SYS_NICE = 23,
	CAP_SYS_RESOURCE = 24,
	CAP_SYS_TIME = 25,
	CAP_SYS_TTY_CONFIG = 26,
	CAP_MKNOD = 27,
	CAP_LEASE = 28,
	CAP_AUDIT_WRITE = 29,
	CAP_AUDIT_CONTROL = 30,
	CAP_SETFCAP = 31,
	CAP_MAC_OVERRIDE = 32,
	CAP_MAC_ADMIN = 33,
	CAP_SYSLOG = 34,
	CAP_WAKE_ALARM = 35,
	CAP_BLOCK_SUSPEND = 36,
	CAP_AUDIT_READ = 37,
	CAP_PERFMON = 38,
	CAP_BPF = 39,
	CAP_CHECKPOINT_RESTORE = 40,
};

// Not a typedef: clang then cuts values beyond 32 bits off in BTF (clang 14 and 19).
enum cap_effective_flags_set : unsigned long long {
	FLAG_CAP_CHOWN = 1ULL << 0,
	FLAG_CAP_DAC_OVERRIDE = 1ULL << 1,
	FLAG_CAP_DAC_READ_SEARCH = 1ULL << 2,
	FLAG_CAP_FOWNER = 1ULL << 3,
	FLAG_CAP_FSETID = 1ULL << 4,
	FLAG_CAP_KILL = 1ULL << 5,
	FLAG_CAP_SETGID = 1ULL << 6,
	FLAG_CAP_SETUID = 1ULL << 7,
	FLAG_CAP_SETPCAP = 1ULL << 8,
	FLAG_CAP_LINUX_IMMUTABLE = 1ULL << 9,
	FLAG_CAP_NET_BIND_SERVICE = 1ULL << 10,
	FLAG_CAP_NET_BROADCAST = 1ULL << 11,
	FLAG_CAP_NET_ADMIN = 1ULL << 12,
	FLAG_CAP_NET_RAW = 1ULL << 13,
	FLAG_CAP_IPC_LOCK = 1ULL << 14,
	FLAG_CAP_IPC_OWNER = 1ULL << 15,
	FLAG_CAP_SYS_MODULE = 1ULL << 16,
	FLAG_CAP_SYS_RAWIO = 1ULL << 17,
	FLAG_CAP_SYS_CHROOT = 1ULL << 18,
	FLAG_CAP_SYS_PTRACE = 1ULL << 19,
	FLAG_CAP_SYS_PACCT = 1ULL << 20,
	FLAG_CAP_SYS_ADMIN = 1ULL << 21,
	FLAG_CAP_SYS_BOOT = 1ULL << 22,
	FLAG_CAP_SYS_NICE = 1ULL << 23,
	FLAG_CAP_SYS_RESOURCE = 1ULL << 24,
	FLAG_CAP_SYS_TIME = 1ULL << 25,
	FLAG_CAP_SYS_TTY_CONFIG = 1ULL << 26,
	FLAG_CAP_MKNOD = 1ULL << 27,
	FLAG_CAP_LEASE = 1ULL << 28,
	FLAG_CAP_AUDIT_WRITE = 1ULL << 29,
	FLAG_CAP_AUDIT_CONTROL = 1ULL << 30,
	FLAG_CAP_SETFCAP = 1ULL << 31,
	FLAG_CAP_MAC_OVERRIDE = 1ULL << 32,
	FLAG_CAP_MAC_ADMIN = 1ULL << 33,
	FLAG_CAP_SYSLOG = 1ULL << 34,
	FLAG_CAP_WAKE_ALARM = 1ULL << 35,
	FLAG_CAP_BLOCK_SUSPEND = 1ULL << 36,
	FLAG_CAP_AUDIT_READ = 1ULL << 37,
	FLAG_CAP_PERFMON = 1ULL << 38,
	FLAG_CAP_BPF = 1ULL << 39,
	FLAG_CAP_CHECKPOINT_RESTORE = 1ULL << 40,
};

struct event {
	gadget_timestamp timestamp_raw;
	struct gadget_process proc;

	__u64 current_userns;
	__u64 target_userns;
	enum cap_effective_flags_set cap_effective_raw;
	enum capability cap_raw;
	bool capable;
	__s32 audit;
	__s32 insetid;
	gadget_syscall syscall_raw;
	gadget_kernel_stack kstack_raw;
};

const volatile bool audit_only = false;
const volatile bool unique = false;
const volatile bool denied_only = false;
const volatile bool collect_kstack = true;

GADGET_PARAM(audit_only);
GADGET_PARAM(unique);
GADGET_PARAM(denied_only);
GADGET_PARAM(collect_kstack);

GADGET_TRACER_MAP(events, 1024 * 1024);
GADGET_TRACER(capabilities, events, event);

// include/linux/security.h
#define CAP_OPT_NOAUDIT 2
#define CAP_OPT_INSETID 4
#define PF_KTHREAD 0x00200000
// arch/x86/include/asm/page_64_types.h and arch/arm64/include/asm/memory.h: 16 KiB on both.
#define THREAD_SIZE (4 * 4096)

// What the function was called with, by thread.
struct question {
	__u64 cred;
	__u64 userns;
	__s32 cap;
	__s32 opts;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct question);
} questions SEC(".maps");

// What has been shown, with --unique.
struct seen {
	gadget_mntns_id mntns_id;
	__s32 cap;
	__u32 capable;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 10240);
	__type(key, struct seen);
	__type(value, __u8);
} seen SEC(".maps");

// The registers of the current task as it entered the kernel; NULL for a task of the kernel's own.
static __always_inline struct pt_regs *entry_regs(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	if (BPF_CORE_READ(task, flags) & PF_KTHREAD)
		return NULL;
	// Linux 5.15. Before, nothing was between the registers and the end of the stack.
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	return BPF_CORE_READ(task, stack) + THREAD_SIZE - bpf_core_type_size(struct pt_regs);
}

// The system call that the current task is in; -1 where it is in none, or in one of a 32-bit program.
static __always_inline gadget_syscall current_syscall(void)
{
	struct pt_regs *regs = entry_regs();

	if (!regs || gadget_syscall_is_compat())
		return -1;
	// -1 there, too, after a page fault or an interrupt.
	return (__s32)gadget_syscall_number(regs);
}


static __always_inline __u64 effective(const struct cred *cred)
{
	__u64 caps = 0;

	// 8 bytes, lower half first, whatever they are called.
	bpf_probe_read_kernel(&caps, sizeof(caps), __builtin_preserve_access_index(&cred->cap_effective));
	return caps;
}

static __always_inline void show(void *ctx, const struct question *question, int ret, bool opts_known)
{
	const struct cred *cred = (const struct cred *)question->cred;
	struct user_namespace *target = (struct user_namespace *)question->userns;
	struct event *event;

	if (denied_only && !ret)
		return;
	if (audit_only && opts_known && question->opts & CAP_OPT_NOAUDIT)
		return;
	if (unique) {
		struct seen key = { .mntns_id = gadget_get_current_mntns_id(), .cap = question->cap, .capable = ret == 0 };
		__u8 one = 1;

		// Fails where it is there.
		if (bpf_map_update_elem(&seen, &key, &one, BPF_NOEXIST))
			return;
	}
	event = gadget_reserve_buf(&events, sizeof(*event));
	if (!event)
		return;
	__builtin_memset(event, 0, sizeof(*event));
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	gadget_process_populate(&event->proc);
	event->current_userns = BPF_CORE_READ(cred, user_ns, ns.inum);
	event->target_userns = BPF_CORE_READ(target, ns.inum);
	event->cap_effective_raw = effective(cred);
	event->cap_raw = question->cap;
	event->capable = ret == 0;
	event->audit = opts_known ? !(question->opts & CAP_OPT_NOAUDIT) : -1;
	event->insetid = opts_known ? !!(question->opts & CAP_OPT_INSETID) : -1;
	event->syscall_raw = current_syscall();
	if (collect_kstack)
		event->kstack_raw = gadget_get_kernel_stack(ctx);
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
}

static __always_inline int ask(const struct cred *cred, struct user_namespace *userns, int cap, int opts)
{
	struct question question = { (__u64)cred, (__u64)userns, cap, opts };
	__u32 tid = bpf_get_current_pid_tgid();

	if (!gadget_should_discard_data_current())
		bpf_map_update_elem(&questions, &tid, &question, BPF_ANY);
	return 0;
}

SEC("?fentry/cap_capable")
int BPF_PROG(asked_fentry, const struct cred *cred, struct user_namespace *userns, int cap, unsigned int opts)
{
	return ask(cred, userns, cap, opts);
}

SEC("?kprobe/cap_capable")
int asked_kprobe(struct pt_regs *ctx)
{
	return ask((void *)gadget_regs_arg(ctx, 0), (void *)gadget_regs_arg(ctx, 1), gadget_regs_arg(ctx, 2),
		   gadget_regs_arg(ctx, 3));
}

SEC("?raw_tp/cap_capable")
int answered_tracepoint(struct bpf_raw_tracepoint_args *ctx)
{
	struct question question = { ctx->args[0], ctx->args[1], ctx->args[3], 0 };
	__u32 tid = bpf_get_current_pid_tgid();
	struct question *asked;

	if (gadget_should_discard_data_current())
		return 0;
	asked = bpf_map_lookup_elem(&questions, &tid);
	if (asked)
		question.opts = asked->opts;
	show(ctx, &question, (int)ctx->args[4], asked != NULL);
	if (asked)
		bpf_map_delete_elem(&questions, &tid);
	return 0;
}

SEC("?fexit/cap_capable")
int BPF_PROG(answered_fexit, const struct cred *cred, struct user_namespace *userns, int cap, unsigned int opts, int ret)
{
	struct question question = { (__u64)cred, (__u64)userns, cap, opts };

	if (!gadget_should_discard_data_current())
		show(ctx, &question, ret, true);
	return 0;
}

SEC("?kretprobe/cap_capable")
int answered_kretprobe(struct pt_regs *ctx)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct question *asked = bpf_map_lookup_elem(&questions, &tid);
	struct question question;

	if (!asked)
		return 0;
	question = *asked;
	bpf_map_delete_elem(&questions, &tid);
	show(ctx, &question, (int)gadget_regs_result(ctx), true);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
