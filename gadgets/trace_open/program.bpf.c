// SPDX-License-Identifier: GPL-2.0-only
//
// Shows each file that is opened, and each try that failed.
//
// One program at the end of system calls sees them all: the registers still hold what the caller gave, and the name,
// which the kernel has read, is in memory by now, so it can be read even if it lay in a page that nobody had touched.

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

// include/uapi/asm-generic/fcntl.h
#define O_WRONLY 01
#define O_CREAT 0100
#define O_TRUNC 01000
#define __O_TMPFILE 020000000

#define EINTR 4
// include/linux/errno.h: codes that never leave the kernel, the first and the last.
#define ERESTARTSYS 512
#define ERESTART_RESTARTBLOCK 516

// How the file was opened.
enum open_call {
	open = 1,
	creat,
	openat,
	openat2,
	open_by_handle_at,
	io_uring,
};

struct event {
	gadget_timestamp timestamp_raw;
	struct gadget_process proc;

	gadget_errno error_raw;
	__u32 fd;
	gadget_file_flags flags_raw;
	gadget_file_mode mode_raw;
	enum open_call call_raw;
	__s32 dirfd;

	char fname[GADGET_PATH_MAX];
	char fpath[GADGET_PATH_MAX];
	char cwd[GADGET_PATH_MAX];
	char exepath[GADGET_PATH_MAX];
};

const volatile bool targ_failed = false;
const volatile bool paths = false;

GADGET_PARAM(targ_failed);
GADGET_PARAM(paths);

GADGET_TRACER_MAP(events, 1024 * 1024);
GADGET_TRACER(open, events, event);

GADGET_SCRATCH(works, struct event);

// Which call this is, or 0 for one that opens nothing.
static __always_inline enum open_call open_call_of(struct pt_regs *regs)
{
	bool compat;
	__u32 nr;

	if (gadget_arch_is_x86()) {
		nr = (__u32)((struct pt_regs___gadget_x86 *)regs)->orig_ax & ~__GADGET_X32_SYSCALL_BIT;
		// arch/x86/entry/syscalls: of both ABIs together, to let most calls pass quickly.
		if (nr != 257 && nr != 2 && nr != 437 && nr != 85 && nr != 304 && nr != 5 && nr != 8 && nr != 295 &&
		    nr != 342)
			return 0;
		compat = gadget_syscall_is_compat();
		if (nr == 437)
			return openat2;
		if (nr == (compat ? 295 : 257))
			return openat;
		if (nr == (compat ? 5 : 2))
			return open;
		if (nr == (compat ? 8 : 85))
			return creat;
		if (nr == (compat ? 342 : 304))
			return open_by_handle_at;
		return 0;
	}

	nr = ((struct pt_regs___gadget_arm64 *)regs)->syscallno;
	// include/uapi/asm-generic/unistd.h, and arch/arm/tools/syscall.tbl for 32-bit programs.
	if (nr != 56 && nr != 437 && nr != 265 && nr != 5 && nr != 8 && nr != 322 && nr != 371)
		return 0;
	compat = gadget_syscall_is_compat();
	if (nr == 437)
		return openat2;
	if (nr == (compat ? 322 : 56))
		return openat;
	if (nr == (compat ? 371 : 265))
		return open_by_handle_at;
	if (compat && nr == 5)
		return open;
	if (compat && nr == 8)
		return creat;
	return 0;
}

// Everything that has nothing to do with the call.
static __always_inline void fill_event(struct event *event)
{
	__builtin_memset(event, 0, __builtin_offsetof(struct event, fname));
	event->fname[0] = '\0';
	event->fpath[0] = '\0';
	event->cwd[0] = '\0';
	event->exepath[0] = '\0';

	event->timestamp_raw = bpf_ktime_get_boot_ns();
	gadget_process_populate(&event->proc);

	if (paths) {
		struct task_struct *task = (struct task_struct *)bpf_get_current_task();
		struct fs_struct *fs = BPF_CORE_READ(task, fs);
		struct file *exe = BPF_CORE_READ(task, mm, exe_file);

		if (fs)
			gadget_read_path(event->cwd, sizeof(event->cwd), &fs->pwd);
		if (exe)
			gadget_read_path(event->exepath, sizeof(event->exepath), &exe->f_path);
	}
}

static __always_inline void fill_result(struct event *event, long ret)
{
	if (ret >= 0) {
		event->fd = ret;
		if (paths) {
			struct file *file = get_struct_file_for_fd(ret);

			if (file)
				gadget_read_path(event->fpath, sizeof(event->fpath), &file->f_path);
		}
		return;
	}
	event->error_raw = -ret;
	// A signal came: the program sees EINTR, unless the kernel makes the call again, which is then an event of its own.
	if (event->error_raw >= ERESTARTSYS && event->error_raw <= ERESTART_RESTARTBLOCK)
		event->error_raw = EINTR;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(open_done, struct pt_regs *regs, long result)
{
	enum open_call call = open_call_of(regs);
	// A file descriptor or a negative error: 32 bits, which a 32-bit call may not have sign-extended.
	__s32 ret = result;
	struct event *event;
	const char *name;
	__u64 flags;
	__u64 mode;
	bool compat;
	long length;
	__u64 size;

	if (!call || (targ_failed && ret >= 0) || gadget_should_discard_data_current())
		return 0;
	event = works_claim();
	if (!event) {
		__gadget_count_lost(&events);
		return 0;
	}
	fill_event(event);
	event->call_raw = call;
	compat = gadget_syscall_is_compat();

	if (call == open || call == creat) {
		event->dirfd = -100; // AT_FDCWD
		name = (const char *)gadget_syscall_arg(regs, 0, compat);
		flags = call == creat ? O_CREAT | O_WRONLY | O_TRUNC : gadget_syscall_arg(regs, 1, compat);
		mode = call == creat ? gadget_syscall_arg(regs, 1, compat) : gadget_syscall_arg(regs, 2, compat);
	} else {
		event->dirfd = gadget_syscall_arg(regs, 0, compat);
		name = (const char *)gadget_syscall_arg(regs, 1, compat);
		flags = gadget_syscall_arg(regs, 2, compat);
		mode = gadget_syscall_arg(regs, 3, compat);
		if (call == openat2) {
			struct open_how how = {};

			bpf_probe_read_user(&how, sizeof(how), (const void *)flags);
			flags = how.flags;
			mode = how.mode;
		}
	}
	event->flags_raw = flags;
	// Without these flags the call has no mode: what lies in the register is of no meaning.
	if (flags & (O_CREAT | __O_TMPFILE))
		event->mode_raw = mode & 07777;

	fill_result(event, ret);
	if (call == open_by_handle_at) {
		// It names no file: show which one it was.
		struct file *file = ret >= 0 ? get_struct_file_for_fd(ret) : NULL;

		length = file ? gadget_read_path(event->fname, sizeof(event->fname), &file->f_path) : 1;
	} else {
		length = bpf_probe_read_user_str(event->fname, sizeof(event->fname), name);
	}

	size = sizeof(*event);
	if (!paths) {
		if (length < 1)
			length = 1;
		size = length;
		asm volatile("%0 &= 1023" : "+r"(size));
		size += __builtin_offsetof(struct event, fname);
	}
	gadget_output_buf(ctx, &events, event, size);
	works_release(event);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
