// SPDX-License-Identifier: GPL-2.0-only
//
// Shows each file that is opened, and each try that failed.
//
// One program at the end of system calls sees them all: the registers still hold what the caller gave, and the name,
// which the kernel has read, is in memory by now, so it can be read even if it lay in a page that nobody had touched.
// Files opened through io_uring are remembered when they are asked for and shown when the answer is there.

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define GADGET_NO_BUF_RESERVE
#include <gadget/buffer.h>
#include <gadget/common.h>
#include <gadget/core_fixes.bpf.h>
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

	gadget_string fname;
	gadget_string fpath;
	gadget_string cwd;
	gadget_string exepath;

	char __strings[4 * GADGET_STRING_MAX];
};

struct work {
	// How many bytes of the event are in use.
	__u32 used;
	struct event event;
};

const volatile bool targ_failed = false;
const volatile bool paths = false;

GADGET_PARAM(targ_failed);
GADGET_PARAM(paths);

GADGET_TRACER_MAP(events, 1024 * 1024);
GADGET_TRACER(open, events, event);

GADGET_SCRATCH(works, struct work);

// A request of io_uring that has not been answered yet.
struct pending_open {
	gadget_timestamp timestamp;
	struct gadget_process proc;
	__u64 flags;
	__u64 mode;
	__s32 dirfd;
	// The file goes to a slot of the ring, not to a descriptor.
	bool has_slot;
	char fname[1024];
};

// By the address of its struct io_kiocb. Takes memory only for requests that are there.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct pending_open);
} requests SEC(".maps");

// struct pending_open is too large for the stack.
GADGET_SCRATCH(new_pending, struct pending_open);

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

static __always_inline gadget_string add_path(struct work *work, const struct path *path)
{
	return gadget_string_add_path(&work->event, &work->used, sizeof(work->event), path);
}

// Everything that has nothing to do with the call.
static __always_inline void fill_event(struct work *work)
{
	struct event *event = &work->event;

	work->used = __builtin_offsetof(struct event, __strings);
	__builtin_memset(event, 0, __builtin_offsetof(struct event, __strings));

	if (paths) {
		struct task_struct *task = (struct task_struct *)bpf_get_current_task();
		struct fs_struct *fs = BPF_CORE_READ(task, fs);
		struct file *exe = BPF_CORE_READ(task, mm, exe_file);

		if (fs)
			event->cwd = add_path(work, &fs->pwd);
		if (exe)
			event->exepath = add_path(work, &exe->f_path);
	}
}

static __always_inline void fill_flags(struct event *event, __u64 flags, __u64 mode)
{
	event->flags_raw = flags;
	// Without these flags the call has no mode: what lies in its place is of no meaning.
	if (flags & (O_CREAT | __O_TMPFILE))
		event->mode_raw = mode & 07777;
}

static __always_inline void fill_error(struct event *event, __s32 ret)
{
	event->error_raw = -ret;
	// A signal came: the program sees EINTR, unless the kernel makes the call again, which is then an event of its own.
	if (event->error_raw >= ERESTARTSYS && event->error_raw <= ERESTART_RESTARTBLOCK)
		event->error_raw = EINTR;
}

static __always_inline void send(void *ctx, struct work *work)
{
	__u64 size = work->used;

	if (size <= sizeof(work->event))
		gadget_output_buf(ctx, &events, &work->event, size);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(open_done, struct pt_regs *regs, long result)
{
	enum open_call call = open_call_of(regs);
	// A file descriptor or a negative error: 32 bits, which a 32-bit call may not have sign-extended.
	__s32 ret = result;
	struct work *work;
	struct event *event;
	const char *name;
	__u64 flags;
	__u64 mode;
	bool compat;

	if (!call || (targ_failed && ret >= 0) || gadget_should_discard_data_current())
		return 0;
	work = works_claim();
	if (!work) {
		__gadget_count_lost(&events);
		return 0;
	}
	event = &work->event;
	fill_event(work);
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	gadget_process_populate(&event->proc);
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
	fill_flags(event, flags, mode);

	if (call != open_by_handle_at)
		event->fname = gadget_string_add_user(event, &work->used, sizeof(*event), name);
	if (ret < 0) {
		fill_error(event, ret);
	} else {
		event->fd = ret;
		// open_by_handle_at names no file: show which one it was.
		if (paths || call == open_by_handle_at) {
			struct file *file = get_struct_file_for_fd(ret);

			if (file)
				event->fpath = add_path(work, &file->f_path);
			if (call == open_by_handle_at)
				event->fname = event->fpath;
		}
	}

	send(ctx, work);
	works_release(work);
	return 0;
}

static __always_inline void show_request(void *ctx, struct pending_open *pending, __s32 ret)
{
	struct work *work;
	struct event *event;

	if (targ_failed && ret >= 0)
		return;
	work = works_claim();
	if (!work) {
		__gadget_count_lost(&events);
		return;
	}
	event = &work->event;
	// The paths of a task of the process: the one that asked, a worker, or one that waits for answers.
	fill_event(work);
	event->timestamp_raw = pending->timestamp;
	event->proc = pending->proc;
	event->call_raw = io_uring;
	event->dirfd = pending->dirfd;
	fill_flags(event, pending->flags, pending->mode);
	event->fname = gadget_string_add_kernel(event, &work->used, sizeof(*event), pending->fname);
	if (ret < 0) {
		fill_error(event, ret);
	} else if (!pending->has_slot) {
		event->fd = ret;
		if (paths) {
			struct file *file = get_struct_file_for_fd(ret);

			if (file)
				event->fpath = add_path(work, &file->f_path);
		}
	}
	send(ctx, work);
	works_release(work);
}

// Linux 7.0 put the pointer to the name into a struct.
struct delayed_filename___since_7_0 {
	struct filename *__incomplete_filename;
} __attribute__((preserve_access_index));

struct io_open___since_7_0 {
	struct delayed_filename___since_7_0 filename;
} __attribute__((preserve_access_index));

static __always_inline const char *name_of(struct io_open *op)
{
	struct io_open___since_7_0 *delayed = (void *)op;

	if (bpf_core_field_exists(delayed->filename.__incomplete_filename))
		return BPF_CORE_READ(delayed, filename.__incomplete_filename, name);
	return BPF_CORE_READ(op, filename, name);
}

// A request was taken over from the ring: its name has been copied to kernel memory.
static __always_inline int submit(void *ctx, struct io_kiocb *req)
{
	__u8 opcode = BPF_CORE_READ(req, opcode);
	struct pending_open *pending;
	struct io_open *op;
	__u64 key = (__u64)req;

	// Before Linux 6.0 the tracepoint has other arguments: don't load, so that the user is told.
	if (!bpf_core_field_exists(req->cmd))
		bpf_core_unreachable();
	if ((opcode != IORING_OP_OPENAT && opcode != IORING_OP_OPENAT2) || gadget_should_discard_data_current())
		return 0;
	pending = new_pending_claim();
	if (!pending) {
		__gadget_count_lost(&events);
		return 0;
	}
	op = (struct io_open *)&req->cmd;
	__builtin_memset(pending, 0, __builtin_offsetof(struct pending_open, fname) + 1);
	pending->timestamp = bpf_ktime_get_boot_ns();
	gadget_process_populate(&pending->proc);
	pending->flags = BPF_CORE_READ(op, how.flags);
	pending->mode = BPF_CORE_READ(op, how.mode);
	pending->dirfd = BPF_CORE_READ(op, dfd);
	pending->has_slot = BPF_CORE_READ(op, file_slot) != 0;
	bpf_probe_read_kernel_str(pending->fname, sizeof(pending->fname), name_of(op));

	if (BPF_CORE_READ(req, flags) & (1 << REQ_F_CQE_SKIP_BIT)) {
		// There will be no answer unless it fails: take it for done.
		pending->has_slot = true;
		show_request(ctx, pending, 0);
	} else if (bpf_map_update_elem(&requests, &key, pending, BPF_ANY)) {
		__gadget_count_lost(&events);
	}
	new_pending_release(pending);
	return 0;
}

// Linux 6.3 and later.
SEC("?raw_tp/io_uring_submit_req")
int uring_submit_req(struct bpf_raw_tracepoint_args *ctx)
{
	return submit(ctx, (struct io_kiocb *)ctx->args[0]);
}

// Linux 6.0 to 6.2.
SEC("?raw_tp/io_uring_submit_sqe")
int uring_submit_sqe(struct bpf_raw_tracepoint_args *ctx)
{
	return submit(ctx, (struct io_kiocb *)ctx->args[0]);
}

SEC("?raw_tp/io_uring_complete")
int uring_complete(struct bpf_raw_tracepoint_args *ctx)
{
	struct io_kiocb *req = (struct io_kiocb *)ctx->args[1];
	struct pending_open *pending;
	__u64 key = (__u64)req;

	if (!bpf_core_field_exists(req->cmd))
		bpf_core_unreachable();
	pending = bpf_map_lookup_elem(&requests, &key);
	if (!pending)
		return 0;
	show_request(ctx, pending, BPF_CORE_READ(req, cqe.res));
	bpf_map_delete_elem(&requests, &key);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
