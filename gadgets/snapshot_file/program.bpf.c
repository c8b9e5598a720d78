// SPDX-License-Identifier: GPL-2.0-only
//
// Shows the files that processes have open.

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#include <gadget/filesystem.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/scratch.h>
#include <gadget/types.h>

// include/uapi/linux/stat.h
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define S_IFLNK 0120000
#define S_IFREG 0100000
#define S_IFBLK 0060000
#define S_IFDIR 0040000
#define S_IFCHR 0020000
#define S_IFIFO 0010000

// The bits of --type-mask, from 0.
enum file_type {
	REGULAR,
	SOCKET,
	PIPE,
	BPF_MAP,
	DIRECTORY,
	CHAR_DEV,
	BLOCK_DEV,
	SYMLINK,
	OTHER,
};

struct gadget_file {
	gadget_mntns_id mntns_id;
	gadget_comm comm[TASK_COMM_LEN];
	gadget_pid pid;
	gadget_tid tid;
	__u32 fd;
	enum file_type type_raw;
	char path[GADGET_PATH_MAX];
	__u64 inode;
	gadget_file_flags flags_raw;
	__u32 __pad;
};

/** Whole paths instead of names. */
const volatile bool paths = false;
GADGET_PARAM(paths);

/** Which types of files to show. */
const volatile __u32 file_type_mask = (1U << REGULAR) | (1U << DIRECTORY);
GADGET_PARAM(file_type_mask);

GADGET_ITER(files, gadget_file, snapshot_file);

GADGET_SCRATCH(rows, struct gadget_file);

static __always_inline bool has_name(struct file *file, const char *name, __u32 size)
{
	char own[8] = {};
	const unsigned char *from = BPF_CORE_READ(file, f_path.dentry, d_name.name);

	bpf_probe_read_kernel_str(own, sizeof(own), from);
	for (__u32 i = 0; i < size; i++)
		if (own[i] != name[i])
			return false;
	return true;
}

static __always_inline enum file_type type_of(struct file *file)
{
	switch (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) {
	case S_IFREG:
		return REGULAR;
	case S_IFDIR:
		return DIRECTORY;
	case S_IFIFO:
		return PIPE;
	case S_IFSOCK:
		return SOCKET;
	case S_IFCHR:
		return CHAR_DEV;
	case S_IFBLK:
		return BLOCK_DEV;
	case S_IFLNK:
		return SYMLINK;
	}
	// Anonymous inodes have no type, only a name.
	return has_name(file, "bpf-map", sizeof("bpf-map")) ? BPF_MAP : OTHER;
}

// include/uapi/linux/magic.h
#define PIPEFS_MAGIC 0x50495045
#define SOCKFS_MAGIC 0x534F434B
#define ANON_INODE_FS_MAGIC 0x09041934

// "NAME:[INODE]".
static __always_inline void write_numbered(char *to, const char *name, __u32 size, __u64 inode)
{
	char digits[20];
	__u32 first = sizeof(digits);
	__u32 at = size - 1;

	for (__u32 i = 0; i < size - 1; i++)
		to[i] = name[i];
	to[at++] = ':';
	to[at++] = '[';
#pragma unroll
	for (__u32 i = 0; i < sizeof(digits); i++) {
		digits[sizeof(digits) - 1 - i] = '0' + inode % 10;
		inode /= 10;
		if (inode == 0 && first == sizeof(digits))
			first = sizeof(digits) - 1 - i;
	}
#pragma unroll
	for (__u32 i = 0; i < sizeof(digits); i++)
		if (i >= first)
			to[at++ & 63] = digits[i];
	to[at & 63] = ']';
}

// Files without a place in the tree, named as /proc/PID/fd names them; false for all others.
static __always_inline bool write_special_name(char *to, struct file *file, __u64 inode)
{
	const char anon[] = "anon_inode:";

	switch (BPF_CORE_READ(file, f_inode, i_sb, s_magic)) {
	case PIPEFS_MAGIC:
		write_numbered(to, "pipe", sizeof("pipe"), inode);
		return true;
	case SOCKFS_MAGIC:
		write_numbered(to, "socket", sizeof("socket"), inode);
		return true;
	case ANON_INODE_FS_MAGIC:
		__builtin_memcpy(to, anon, sizeof(anon) - 1);
		bpf_probe_read_kernel_str(to + sizeof(anon) - 1, 64, BPF_CORE_READ(file, f_path.dentry, d_name.name));
		return true;
	}
	return false;
}

SEC("iter/task_file")
int snapshot_file(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct gadget_file *row;
	enum file_type type;
	gadget_mntns_id mntns_id;

	if (!task || !file)
		return 0;
	type = type_of(file);
	if (!(file_type_mask & (1U << type)))
		return 0;
	mntns_id = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
	if (gadget_should_discard_data(mntns_id, task->tgid, task->pid, task->comm, BPF_CORE_READ(task, cred, euid.val),
				       BPF_CORE_READ(task, cred, egid.val)))
		return 0;

	row = rows_claim();
	if (!row)
		return 0;
	__builtin_memset(row, 0, sizeof(*row));
	row->mntns_id = mntns_id;
	__builtin_memcpy(row->comm, task->comm, sizeof(row->comm));
	row->pid = task->tgid;
	row->tid = task->pid;
	row->fd = ctx->fd;
	row->type_raw = type;
	row->inode = BPF_CORE_READ(file, f_inode, i_ino);
	row->flags_raw = BPF_CORE_READ(file, f_flags);
	if (write_special_name(row->path, file, row->inode))
		;
	else if (!paths)
		bpf_probe_read_kernel_str(row->path, sizeof(row->path), BPF_CORE_READ(file, f_path.dentry, d_name.name));
	else if (gadget_read_path(row->path, sizeof(row->path), &file->f_path) < 0)
		row->path[0] = '\0';

	bpf_seq_write(ctx->meta->seq, row, sizeof(*row));
	rows_release(row);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
