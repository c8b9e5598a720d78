// SPDX-License-Identifier: GPL-2.0-only
//
// Shows each program that is started, and each try that failed.
//
// A successful exec is reported by the tracepoint sched_process_exec: it fires once for each, whoever asked for it (any
// ABI, any thread, the kernel itself), after the kernel has copied the arguments to where nobody else can change them.
// A failed one is reported by sys_exit: the registers still hold what the program gave, and what the kernel has read is
// in memory by now.

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define GADGET_NO_BUF_RESERVE
#include <gadget/buffer.h>
#include <gadget/common.h>
#include <gadget/filesystem.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/scratch.h>
#include <gadget/syscall.h>
#include <gadget/types.h>

// How many bytes of arguments an event can hold.
#define ARGS_MAX 16384
// Room for the strings that follow: three of the longest, more if they are shorter.
#define STRINGS_MAX (3 * GADGET_STRING_MAX)
// How much of a failed call's argument is read at once.
#define ARG_CHUNK 4096
// How many arguments (or chunks) of a failed call are looked at.
#define ARG_READS 256

#define AT_FDCWD (-100)
// include/uapi/linux/magic.h
#define OVERLAYFS_SUPER_MAGIC 0x794c7630

struct event {
	gadget_timestamp timestamp_raw;
	struct gadget_process proc;

	gadget_errno error_raw;
	gadget_uid loginuid;
	__u32 sessionid;
	__s32 tty;
	__u32 tty_major;
	__u32 tty_minor;
	__u32 args_count;
	__u32 args_size;
	bool argv_truncated;
	bool from_rootfs;
	bool upper_layer;
	bool pupper_layer;
	__u32 dev_major;
	__u32 dev_minor;
	gadget_string cwd;
	__u64 inode;
	gadget_string file;
	gadget_string exepath;
	gadget_string parent_exepath;

	// Only as many bytes as there are; the other strings follow at once.
	char args[ARGS_MAX];
	char __strings[STRINGS_MAX];
};

struct arg_cursor {
	__u64 argv;
	__u64 string;
	__u64 size;
	__u32 count;
};

struct work {
	struct arg_cursor cursor;
	// How many bytes of the event are in use.
	__u32 used;
	struct event event;
};

const volatile bool ignore_failed = false;
const volatile bool paths = true;

GADGET_PARAM(ignore_failed);
GADGET_PARAM(paths);

GADGET_TRACER_MAP(events, 1024 * 1024 * 4);
GADGET_TRACER(exec, events, event);

GADGET_SCRATCH(works, struct work);

static __always_inline struct file *exe_file_of(struct task_struct *task)
{
	return BPF_CORE_READ(task, mm, exe_file);
}

static __always_inline bool is_in_upper_layer(struct file *file)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	struct dentry *upper = NULL;

	if (!inode || BPF_CORE_READ(inode, i_sb, s_magic) != OVERLAYFS_SUPER_MAGIC)
		return false;
	// struct ovl_inode is in no BTF; its __upperdentry follows the struct inode inside it (fs/overlayfs/ovl_entry.h).
	bpf_probe_read_kernel(&upper, sizeof(upper), (void *)inode + bpf_core_type_size(struct inode));
	return upper != NULL;
}

static __always_inline void fill_tty(struct event *event, struct task_struct *task)
{
	struct tty_struct *tty = BPF_CORE_READ(task, signal, tty);
	struct tty_driver *driver;

	if (!tty)
		return;
	driver = BPF_CORE_READ(tty, driver);
	event->tty = BPF_CORE_READ(tty, index);
	event->tty_major = BPF_CORE_READ(driver, major);
	event->tty_minor = BPF_CORE_READ(driver, minor_start) + event->tty;
}

// Everything but the paths and the arguments.
static __always_inline void fill_event(struct event *event, struct task_struct *task)
{
	struct file *exe = exe_file_of(task);

	__builtin_memset(event, 0, __builtin_offsetof(struct event, args));

	event->timestamp_raw = bpf_ktime_get_boot_ns();
	gadget_process_populate(&event->proc);
	fill_tty(event, task);

	// Both need CONFIG_AUDIT.
	event->loginuid = (gadget_uid)-1;
	if (bpf_core_field_exists(task->loginuid))
		event->loginuid = BPF_CORE_READ(task, loginuid.val);
	event->sessionid = -1;
	if (bpf_core_field_exists(task->sessionid))
		event->sessionid = BPF_CORE_READ(task, sessionid);

	if (exe)
		event->from_rootfs = BPF_CORE_READ(exe, f_path.mnt) == BPF_CORE_READ(task, fs, root.mnt);
}

// Must come after the arguments: whatever lies behind those is overwritten.
static __always_inline void fill_paths(struct work *work, struct task_struct *task)
{
	struct event *event = &work->event;
	struct fs_struct *fs = BPF_CORE_READ(task, fs);
	struct file *exe = exe_file_of(task);
	struct file *parent_exe = exe_file_of(BPF_CORE_READ(task, real_parent));

	if (!paths)
		return;
	if (fs)
		event->cwd = gadget_string_add_path(event, &work->used, sizeof(*event), &fs->pwd);
	if (exe)
		event->exepath = gadget_string_add_path(event, &work->used, sizeof(*event), &exe->f_path);
	if (parent_exe)
		event->parent_exepath = gadget_string_add_path(event, &work->used, sizeof(*event), &parent_exe->f_path);
}

// Sets where the strings begin.
static __always_inline void end_args(struct work *work)
{
	__u64 size = work->event.args_size;

	work->used = __builtin_offsetof(struct event, args) + (size > ARGS_MAX ? ARGS_MAX : size);
}

static __always_inline void send(void *ctx, struct work *work)
{
	__u64 size = work->used;

	if (size <= sizeof(work->event))
		gadget_output_buf(ctx, &events, &work->event, size);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(exec_done, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	struct work *work;
	struct event *event;
	struct mm_struct *mm;
	struct file *exe;
	const char *name;
	__u64 args_start;
	__u64 args_size;
	char first = 0;

	if (gadget_should_discard_data_current())
		return 0;
	work = works_claim();
	if (!work) {
		__gadget_count_lost(&events);
		return 0;
	}
	event = &work->event;
	task = (struct task_struct *)bpf_get_current_task();
	fill_event(event, task);

	exe = exe_file_of(task);
	if (exe) {
		struct inode *inode = BPF_CORE_READ(exe, f_inode);
		__u32 dev = BPF_CORE_READ(inode, i_sb, s_dev);

		event->upper_layer = is_in_upper_layer(exe);
		// include/linux/kdev_t.h: 20 bits of minor number.
		event->dev_major = dev >> 20;
		event->dev_minor = dev & 0xfffff;
		event->inode = BPF_CORE_READ(inode, i_ino);
	}
	exe = exe_file_of(BPF_CORE_READ(task, real_parent));
	if (exe)
		event->pupper_layer = is_in_upper_layer(exe);

	mm = BPF_CORE_READ(task, mm);
	args_start = BPF_CORE_READ(mm, arg_start);
	args_size = BPF_CORE_READ(mm, arg_end) - args_start;
	event->args_count = BPF_CORE_READ(bprm, argc);
	event->argv_truncated = args_size > ARGS_MAX;
	event->args_size = args_size;
	if (args_size > ARGS_MAX)
		args_size = ARGS_MAX;
	barrier_var(args_size);
	if (args_size > ARGS_MAX)
		args_size = ARGS_MAX;
	if (bpf_probe_read_user(event->args, args_size, (const void *)args_start)) {
		event->args_size = 0;
		event->argv_truncated = true;
	}
	end_args(work);
	fill_paths(work, task);

	// The name that was asked for: a script's own, while exepath is its interpreter.
	name = BPF_CORE_READ(bprm, filename);
	bpf_probe_read_kernel(&first, sizeof(first), name);
	if (first != '/' && event->cwd)
		event->file = gadget_string_add_joined(event, &work->used, sizeof(*event), event->cwd, name, false);
	else
		event->file = gadget_string_add_kernel(event, &work->used, sizeof(*event), name);

	send(ctx, work);
	works_release(work);
	return 0;
}

// Names the file of execveat(dirfd, name) as the kernel does: "/dev/fd/N/name", or "/dev/fd/N" for an empty name.
static __always_inline gadget_string add_name_in_directory(struct work *work, __u32 dirfd, const char *name, bool is_empty)
{
	struct event *event = &work->event;
	char text[sizeof("/dev/fd/") + 10] = "/dev/fd/";
	char digits[16] = {};
	int last = 0;
	gadget_string directory;

	for (int i = 0; i < 10; i++) {
		digits[i] = '0' + dirfd % 10;
		last = i;
		dirfd /= 10;
		if (!dirfd)
			break;
	}
	for (int i = 0; i < 10; i++)
		text[sizeof("/dev/fd/") - 1 + i] = i <= last ? digits[(last - i) & 15] : '\0';
	directory = gadget_string_add_kernel(event, &work->used, sizeof(*event), text);
	if (is_empty)
		return directory;
	return gadget_string_add_joined(event, &work->used, sizeof(*event), directory, name, true);
}

// The arguments of a failed call, read from the memory of the caller.
// A global function: the verifier looks at its loop once, not once for each way that leads here.
__noinline int fill_args_from_caller(__u32 index, __u64 argv, __u64 pointer_size)
{
	struct work *work = works_at(index);
	// In memory, not in registers: the verifier forgets the values, and so sees each round of the loop as the same.
	volatile struct arg_cursor *cursor;
	struct event *event;

	if (!work)
		return 0;
	event = &work->event;
	cursor = &work->cursor;
	// 4 or 8; this way it is one case for the verifier, not two.
	asm volatile("%0 &= 12" : "+r"(pointer_size));
	cursor->argv = argv;
	cursor->string = 0;
	cursor->size = 0;
	cursor->count = 0;
	event->argv_truncated = true;

	for (int i = 0; i < ARG_READS; i++) {
		__u64 string[2] = { cursor->string };
		__u64 size = cursor->size;
		__u64 is_part;
		long n;

		if (!string[0]) {
			__u64 next = cursor->argv;
			long error = bpf_probe_read_user(string, pointer_size, (void *)next);

			// No argv at all is an empty one for the kernel.
			if (error && next)
				break;
			if (!string[0]) {
				event->argv_truncated = size > ARGS_MAX;
				break;
			}
			cursor->argv = next + pointer_size;
			cursor->count++;
		}
		// Past the end the rest is only measured.
		if (size > ARGS_MAX)
			size = ARGS_MAX;
		barrier_var(size);
		if (size > ARGS_MAX)
			break;
		n = bpf_probe_read_user_str(&event->args[size], ARG_CHUNK, (void *)string[0]);
		if (n <= 0)
			break;
		// A full chunk: there is more of this one, in place of the NUL. Without a branch, for the verifier's sake.
		is_part = n / ARG_CHUNK;
		barrier_var(is_part);
		cursor->string = (string[0] + n - 1) & -is_part;
		cursor->size += n - is_part;
	}
	event->args_count = cursor->count;
	event->args_size = cursor->size;
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(exec_failed, struct pt_regs *regs, long ret)
{
	struct work *work;
	struct event *event;
	struct task_struct *task;
	const char *name;
	bool is_execveat;
	bool compat;
	__s32 dirfd = AT_FDCWD;
	__u64 argv;
	char first = 0;
	__u32 nr;

	// As 32 bits: a 32-bit call's result may not be sign-extended.
	if (ignore_failed || (__s32)ret >= 0)
		return 0;

	if (gadget_arch_is_x86()) {
		nr = (__u32)((struct pt_regs___gadget_x86 *)regs)->orig_ax & ~__GADGET_X32_SYSCALL_BIT;
		// execve: 59, 520 (x32), 11 (i386); execveat: 322, 545 (x32), 358 (i386)
		if (nr != 59 && nr != 322 && nr != 11 && nr != 358 && nr != 520 && nr != 545)
			return 0;
		compat = gadget_syscall_is_compat();
		if (compat != (nr == 11 || nr == 358))
			return 0;
		is_execveat = nr == 322 || nr == 358 || nr == 545;
		compat = compat || nr >= 520;
	} else {
		nr = ((struct pt_regs___gadget_arm64 *)regs)->syscallno;
		// execve: 221, 11 (arm); execveat: 281, 387 (arm)
		if (nr != 221 && nr != 281 && nr != 11 && nr != 387)
			return 0;
		compat = gadget_syscall_is_compat();
		if (compat != (nr == 11 || nr == 387))
			return 0;
		is_execveat = nr == 281 || nr == 387;
	}
	if (gadget_should_discard_data_current())
		return 0;
	work = works_claim();
	if (!work) {
		__gadget_count_lost(&events);
		return 0;
	}
	event = &work->event;
	task = (struct task_struct *)bpf_get_current_task();
	fill_event(event, task);
	event->error_raw = -(__s32)ret;

	if (is_execveat) {
		dirfd = gadget_syscall_arg(regs, 0, compat);
		name = (const char *)gadget_syscall_arg(regs, 1, compat);
		argv = gadget_syscall_arg(regs, 2, compat);
	} else {
		name = (const char *)gadget_syscall_arg(regs, 0, compat);
		argv = gadget_syscall_arg(regs, 1, compat);
	}
	fill_args_from_caller(works_index(work), argv, compat ? 4 : 8);
	end_args(work);
	fill_paths(work, task);

	// A name that can't be read (EFAULT) stays empty.
	if (!bpf_probe_read_user(&first, sizeof(first), name)) {
		if (first != '/' && dirfd != AT_FDCWD)
			event->file = add_name_in_directory(work, dirfd, name, !first);
		else if (first && first != '/' && event->cwd)
			event->file = gadget_string_add_joined(event, &work->used, sizeof(*event), event->cwd, name, true);
		else
			event->file = gadget_string_add_user(event, &work->used, sizeof(*event), name);
	}

	send(ctx, work);
	works_release(work);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
