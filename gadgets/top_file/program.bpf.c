// SPDX-License-Identifier: GPL-2.0-only
//
// Adds up what processes read from and write to files.
//
// One program at the end of system calls: by then it is known how much was moved.

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#include <gadget/common.h>
#include <gadget/filesystem.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/scratch.h>
#include <gadget/syscall.h>
#include <gadget/types.h>

#define MAX_ENTRIES 10240

// include/uapi/linux/stat.h
#define S_IFMT 0170000
#define S_IFREG 0100000
#define S_IFSOCK 0140000

/** Count for files that are not regular ones too: sockets, pipes, devices. */
const volatile bool all_files = false;
GADGET_PARAM(all_files);

// Regular file, socket, other.
enum type {
	R,
	S,
	O,
};

struct file_id {
	__u64 inode;
	__u32 dev;
	__u32 __pad;
	__u64 __pid_tgid;
};

struct file_stat {
	struct gadget_process proc;
	__u64 reads;
	gadget_bytes rbytes_raw;
	__u64 writes;
	gadget_bytes wbytes_raw;
	char file[GADGET_PATH_MAX];
	enum type t_raw;
	__u32 __pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ENTRIES);
	// Entries are large, and few.
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct file_id);
	__type(value, struct file_stat);
} stats SEC(".maps");

GADGET_MAPITER(file, stats);

// Calls that found no room in the map.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} stats_lost_samples SEC(".maps");

GADGET_SCRATCH(new_stats, struct file_stat);

static __always_inline void add_entry(const struct file_id *id, struct file *file, enum type type)
{
	struct file_stat *made = new_stats_claim();

	if (!made)
		return;
	__builtin_memset(made, 0, sizeof(*made));
	gadget_process_populate(&made->proc);
	made->t_raw = type;
	if (gadget_read_path(made->file, sizeof(made->file), &file->f_path) < 0)
		made->file[0] = '\0';
	bpf_map_update_elem(&stats, id, made, BPF_NOEXIST);
	new_stats_release(made);
}

// Not inlined: the path is long to build, and some calls have two files.
static __noinline int count(__u32 fd, __u64 bytes, __u32 is_write)
{
	struct file *file = get_struct_file_for_fd(fd);
	const __u32 zero = 0;
	struct file_stat *stat;
	struct file_id id = {};
	enum type type;
	__u32 format;
	__u64 *lost;

	// Another thread may have closed it by now.
	if (!file)
		return 0;
	format = BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT;
	type = format == S_IFREG ? R : format == S_IFSOCK ? S : O;
	if (!all_files && type != R)
		return 0;
	id.inode = BPF_CORE_READ(file, f_inode, i_ino);
	id.dev = BPF_CORE_READ(file, f_inode, i_sb, s_dev);
	id.__pid_tgid = bpf_get_current_pid_tgid();

	stat = bpf_map_lookup_elem(&stats, &id);
	if (!stat) {
		add_entry(&id, file, type);
		stat = bpf_map_lookup_elem(&stats, &id);
	}
	if (!stat) {
		lost = bpf_map_lookup_elem(&stats_lost_samples, &zero);
		if (lost)
			__sync_fetch_and_add(lost, 1);
		return 0;
	}
	if (is_write) {
		__sync_fetch_and_add(&stat->writes, 1);
		__sync_fetch_and_add(&stat->wbytes_raw, bytes);
	} else {
		__sync_fetch_and_add(&stat->reads, 1);
		__sync_fetch_and_add(&stat->rbytes_raw, bytes);
	}
	return 0;
}

// The numbers of a call: of x86-64, i386, arm64 and arm.
#define IS(x86_64, i386, arm64, arm) gadget_syscall_is(nr, compat, x86_64, i386, arm64, arm)

SEC("raw_tp/sys_exit")
int top_file(struct bpf_raw_tracepoint_args *ctx)
{
	void *regs = (void *)ctx->args[0];
	__s64 moved = ctx->args[1];
	bool compat, reads, writes;
	__u32 nr;

	if (moved < 0)
		return 0;
	compat = gadget_syscall_is_compat();
	nr = gadget_syscall_number(regs);
	// read, pread64, readv, preadv, preadv2, and the same for writes.
	reads = IS(0, 3, 63, 3) || IS(17, 180, 67, 180) || IS(19, 145, 65, 145) || IS(295, 333, 69, 361) ||
		IS(327, 378, 286, 392);
	writes = IS(1, 4, 64, 4) || IS(18, 181, 68, 181) || IS(20, 146, 66, 146) || IS(296, 334, 70, 362) ||
		 IS(328, 379, 287, 393);
	if (reads || writes) {
		if (!gadget_should_discard_data_current())
			count(gadget_syscall_arg(regs, 0, compat), moved, writes);
		return 0;
	}
	// sendfile(out, in), also as sendfile64 in 32-bit programs.
	if (IS(40, 187, 71, 187) || (compat && IS(40, 239, 71, 239))) {
		if (gadget_should_discard_data_current())
			return 0;
		count(gadget_syscall_arg(regs, 1, compat), moved, false);
		count(gadget_syscall_arg(regs, 0, compat), moved, true);
		return 0;
	}
	// copy_file_range and splice(in, offset, out).
	if (IS(326, 377, 285, 391) || IS(275, 313, 76, 340)) {
		if (gadget_should_discard_data_current())
			return 0;
		count(gadget_syscall_arg(regs, 0, compat), moved, false);
		count(gadget_syscall_arg(regs, 2, compat), moved, true);
	}
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
