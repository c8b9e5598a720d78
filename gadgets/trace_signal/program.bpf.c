// SPDX-License-Identifier: GPL-2.0-only
//
// Shows each signal that is sent, by a process or by the kernel, and each call that failed to send one.
//
// Signals are seen where the kernel makes them (the tracepoint signal_generate), whatever they come from. Calls that
// failed, and with --kill-only every call, are seen at the end of system calls: the registers still hold what was given.

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include <gadget/buffer.h>
#include <gadget/common.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/syscall.h>
#include <gadget/types.h>

// include/uapi/asm-generic/siginfo.h
#define SI_KERNEL 0x80
#define SI_TIMER (-2)
#define SI_MESGQ (-3)
#define SI_ASYNCIO (-4)
#define SI_SIGIO (-5)
#define SI_ASYNCNL (-60)

#define EAGAIN 11

// The call that sent the signal, where the event is about a call.
enum signal_call {
	no_call,
	kill,
	tkill,
	tgkill,
	rt_sigqueueinfo,
	rt_tgsigqueueinfo,
	pidfd_send_signal,
};

// What became of the signal: as the tracepoint tells it (include/trace/events/signal.h), and what calls add.
enum signal_result {
	delivered,
	ignored,
	already_pending,
	overflow_fail,
	lose_info,
	call_failed,
	// Nothing was sent: signal 0, or nobody to send to.
	checked,
};

struct event {
	gadget_timestamp timestamp_raw;
	struct gadget_process proc;

	gadget_pid tpid;
	gadget_tid ttid;
	gadget_comm tcomm[TASK_COMM_LEN];
	gadget_signal sig_raw;
	gadget_errno error_raw;
	__s32 code;
	__s32 target;
	__u32 targets;
	enum signal_call call_raw;
	enum signal_result result_raw;
	bool group;
	bool from_kernel;
};

const volatile int target_signal = 0;
const volatile gadget_pid target_pid = 0;
const volatile bool failed_only = false;
const volatile bool kill_only = false;

GADGET_PARAM(target_signal);
GADGET_PARAM(target_pid);
GADGET_PARAM(failed_only);
GADGET_PARAM(kill_only);

GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(signal, events, event);

// What a call of this thread has sent so far.
struct sent {
	__u32 targets;
	gadget_pid tpid;
	gadget_tid ttid;
	gadget_comm tcomm[TASK_COMM_LEN];
	enum signal_result result;
	__s32 code;
	bool group;
};

// By thread; an entry lives until the end of its call. A thread that never gets there can't fill the map for ever.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct sent);
} calls SEC(".maps");

// Whether code means a signal that the running task sent just now by a call.
static __always_inline bool is_from_call(__s32 code)
{
	return code <= 0 && code != SI_TIMER && code != SI_MESGQ && code != SI_ASYNCIO && code != SI_SIGIO &&
	       code != SI_ASYNCNL;
}

static __always_inline void fill_target(struct sent *sent, struct task_struct *task, __s32 code, bool group, int result)
{
	sent->tpid = BPF_CORE_READ(task, tgid);
	sent->ttid = BPF_CORE_READ(task, pid);
	BPF_CORE_READ_INTO(&sent->tcomm, task, comm);
	sent->result = result;
	sent->code = code;
	sent->group = group;
}

static __always_inline void fill_sent(struct event *event, const struct sent *sent)
{
	event->tpid = sent->tpid;
	event->ttid = sent->ttid;
	__builtin_memcpy(event->tcomm, sent->tcomm, sizeof(event->tcomm));
	event->result_raw = sent->result;
	event->code = sent->code;
	event->group = sent->group;
	event->targets = sent->targets;
}

static __always_inline void remember(struct task_struct *task, __s32 code, bool group, int result)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct sent *sent = bpf_map_lookup_elem(&calls, &tid);
	struct sent first = {};

	if (sent) {
		sent->targets++;
		// Of many the last one is shown.
		fill_target(sent, task, code, group, result);
		return;
	}
	first.targets = 1;
	fill_target(&first, task, code, group, result);
	bpf_map_update_elem(&calls, &tid, &first, BPF_ANY);
}

// Raw: info may be one of two small numbers instead of a pointer, which the verifier would take for one.
SEC("raw_tp/signal_generate")
int signal_generated(struct bpf_raw_tracepoint_args *ctx)
{
	int sig = ctx->args[0];
	struct kernel_siginfo *info = (void *)ctx->args[1];
	struct task_struct *task = (void *)ctx->args[2];
	bool group = ctx->args[3];
	int result = ctx->args[4];
	struct event *event;
	struct sent sent = { .targets = 1 };
	__s32 code;

	if ((target_signal && sig != target_signal) || gadget_should_discard_data_current())
		return 0;
	// include/linux/sched/signal.h: SEND_SIG_NOINFO is 0, SEND_SIG_PRIV is 1.
	code = (__u64)info == 0 ? 0 : (__u64)info == 1 ? SI_KERNEL : BPF_CORE_READ(info, si_code);
	if (kill_only) {
		if (is_from_call(code))
			remember(task, code, group, result);
		return 0;
	}
	if (failed_only && result != overflow_fail)
		return 0;
	fill_target(&sent, task, code, group, result);
	if (target_pid && sent.tpid != target_pid)
		return 0;

	event = gadget_reserve_buf(&events, sizeof(*event));
	if (!event)
		return 0;
	__builtin_memset(event, 0, sizeof(*event));
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	gadget_process_populate(&event->proc);
	event->sig_raw = sig;
	fill_sent(event, &sent);
	// A signal with a number that queues had no room: the one who sent it gets this error, where there is one.
	event->error_raw = result == overflow_fail ? EAGAIN : 0;
	event->from_kernel = code > 0;
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
	return 0;
}

static __always_inline enum signal_call signal_call_of(__u32 nr)
{
	bool compat;

	// Of all ABIs together, to let most calls pass quickly.
	if (gadget_arch_is_x86() ? nr != 62 && nr != 200 && nr != 234 && nr != 129 && nr != 297 && nr != 424 && nr != 37 &&
					   nr != 238 && nr != 270 && nr != 178 && nr != 335 && nr != 524 && nr != 536 :
				   nr != 129 && nr != 130 && nr != 131 && nr != 138 && nr != 240 && nr != 424 && nr != 37 &&
					   nr != 238 && nr != 268 && nr != 178 && nr != 363)
		return no_call;
	compat = gadget_syscall_is_compat();
	if (gadget_syscall_is(nr, compat, 62, 37, 129, 37))
		return kill;
	if (gadget_syscall_is(nr, compat, 200, 238, 130, 238))
		return tkill;
	if (gadget_syscall_is(nr, compat, 234, 270, 131, 268))
		return tgkill;
	if (gadget_syscall_is(nr, compat, 129, 178, 138, 178) || gadget_syscall_is(nr, compat, 524, -1, -1, -1))
		return rt_sigqueueinfo;
	if (gadget_syscall_is(nr, compat, 297, 335, 240, 363) || gadget_syscall_is(nr, compat, 536, -1, -1, -1))
		return rt_tgsigqueueinfo;
	return nr == 424 ? pidfd_send_signal : no_call;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(call_done, struct pt_regs *regs, long result)
{
	enum signal_call call = signal_call_of(gadget_syscall_number(regs));
	__u32 tid = bpf_get_current_pid_tgid();
	// 32-bit calls may not have been sign-extended.
	__s32 ret = result;
	bool directed = call == tgkill || call == rt_tgsigqueueinfo;
	struct event *event;
	struct sent *sent;
	bool compat;
	int sig;

	if (!call)
		return 0;
	// A signal that found no room was shown when it was made.
	if (!kill_only && (ret >= 0 || ret == -EAGAIN))
		return 0;
	sent = bpf_map_lookup_elem(&calls, &tid);
	compat = gadget_syscall_is_compat();
	sig = gadget_syscall_arg(regs, directed ? 2 : 1, compat);
	if ((failed_only && ret >= 0) || (target_signal && sig != target_signal) ||
	    (target_pid && (!sent || sent->tpid != target_pid)) || gadget_should_discard_data_current())
		goto end;

	event = gadget_reserve_buf(&events, sizeof(*event));
	if (!event)
		goto end;
	__builtin_memset(event, 0, sizeof(*event));
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	gadget_process_populate(&event->proc);
	event->sig_raw = sig;
	event->result_raw = checked;
	event->group = call == kill || call == rt_sigqueueinfo || call == pidfd_send_signal;
	if (sent)
		fill_sent(event, sent);
	event->call_raw = call;
	event->target = gadget_syscall_arg(regs, directed ? 1 : 0, compat);
	if (ret < 0) {
		event->error_raw = -ret;
		event->result_raw = ret == -EAGAIN ? overflow_fail : call_failed;
	}
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
end:
	if (sent)
		bpf_map_delete_elem(&calls, &tid);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
