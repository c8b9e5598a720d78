// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause
//
// Paths of files, put together from dentries and mounts as the kernel's d_path() does.
//
// A path is what it is in the mount namespace of the file: from the namespace's root down, whatever root a process has
// chosen by chroot(). Needs vmlinux.h. Kernel: 5.3 (bounded loops).

#ifndef GADGET_FILESYSTEM_H
#define GADGET_FILESYSTEM_H

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <gadget/strings.h>

/** Room for a path in a char array of an event: much less than PATH_MAX, so that many events fit into a buffer. */
#ifndef GADGET_PATH_MAX
#define GADGET_PATH_MAX 512
#endif

/** The longest path that the kernel takes, with its NUL. */
#ifndef PATH_MAX
#define PATH_MAX 4096
#endif

/** How many names and mount points a path may have; of one that has more, the last are kept. */
#ifndef MAX_PATH_COMPONENTS
#define MAX_PATH_COMPONENTS 96
#endif

// The last byte of a path: holds the NUL.
#define __GADGET_PATH_END (PATH_MAX - 1)
// The slot of get_path_str(); the others belong to gadget_read_path().
#define __GADGET_PATH_SHARED 0
#define __GADGET_PATH_SLOTS 3

// Where a path is put together, from its end to its start.
struct __gadget_path_buf {
	// Greater than 0 while somebody uses it.
	__u64 users;
	// Where the walk is. In memory, not in registers: the verifier forgets the values, and so sees each round of the
	// loop as the same.
	struct dentry *dentry;
	struct dentry *mnt_root;
	struct vfsmount *vfsmnt;
	__u64 pos;
	// A name of 255 bytes may start at the last byte of PATH_MAX as far as the verifier can see.
	char text[PATH_MAX + 256];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, __GADGET_PATH_SLOTS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct __gadget_path_buf));
} bufs SEC(".maps");

// Bounds a position just before it is used, whatever the compiler and the verifier have made of it until then.
#define __GADGET_PATH_BOUND(pos) asm volatile("%0 &= 4095" : "+r"(pos))

// Puts the name of a dentry before what is there already; returns where it starts, or 0 when there is no room.
static __always_inline __u64 __gadget_path_prepend(struct __gadget_path_buf *buf, __u64 pos, struct dentry *dentry)
{
	const unsigned char *name = BPF_CORE_READ(dentry, d_name.name);
	// NAME_MAX is 255.
	__u64 len = BPF_CORE_READ(dentry, d_name.len) & 255;

	if (pos <= len)
		return 0;
	pos -= len;
	__GADGET_PATH_BOUND(pos);
	asm volatile("%0 &= 255" : "+r"(len));
	bpf_probe_read_kernel(&buf->text[pos], len, name);
	return pos;
}

// Writes the path of the slot's dentry so that it ends at its pos, and leaves there where it starts.
// A global function: the verifier looks at its loop once, not once for each call.
__noinline int __gadget_path_walk(__u32 slot)
{
	struct __gadget_path_buf *buf = bpf_map_lookup_elem(&bufs, &slot);
	volatile struct __gadget_path_buf *state = buf;

	if (!buf)
		return 0;
	for (int i = 0; i < MAX_PATH_COMPONENTS; i++) {
		struct dentry *dentry = state->dentry;
		struct dentry *parent;
		__u64 pos;

		if (dentry == state->mnt_root) {
			struct vfsmount *vfsmnt = state->vfsmnt;
			struct mount *mnt = container_of(vfsmnt, struct mount, mnt);
			struct mount *mnt_parent = BPF_CORE_READ(mnt, mnt_parent);

			if (mnt == mnt_parent)
				break;
			state->dentry = BPF_CORE_READ(mnt, mnt_mountpoint);
			state->mnt_root = BPF_CORE_READ(mnt_parent, mnt.mnt_root);
			state->vfsmnt = &mnt_parent->mnt;
			continue;
		}
		parent = BPF_CORE_READ(dentry, d_parent);
		// The top of a tree that is mounted nowhere.
		if (dentry == parent)
			break;

		pos = __gadget_path_prepend(buf, state->pos, dentry);
		if (pos == 0)
			break;
		pos -= 1;
		__GADGET_PATH_BOUND(pos);
		buf->text[pos] = '/';
		state->pos = pos;
		state->dentry = parent;
	}
	return 0;
}

// Puts a whole path into a slot; returns where it starts.
static __always_inline __u64 __gadget_path_build(const struct path *path, struct __gadget_path_buf *buf, __u32 slot)
{
	struct dentry *dentry = BPF_CORE_READ(path, dentry);
	struct vfsmount *vfsmnt = BPF_CORE_READ(path, mnt);
	struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
	struct dentry *mnt_root = BPF_CORE_READ(vfsmnt, mnt_root);
	// A memfd, a pipe, a socket: has a name, but no place in any tree.
	bool is_pseudo = dentry == parent && dentry != mnt_root;
	__u64 pos = __GADGET_PATH_END;

	buf->text[pos] = '\0';
	// d_path() says of a file whose name was removed, and of one that never had one, that it is deleted.
	if (slot != __GADGET_PATH_SHARED && (is_pseudo || (dentry != parent && !BPF_CORE_READ(dentry, d_hash.pprev)))) {
		pos -= sizeof(" (deleted)") - 1;
		__builtin_memcpy(&buf->text[__GADGET_PATH_END + 1 - sizeof(" (deleted)")], " (deleted)",
				 sizeof(" (deleted)") - 1);
	}

	if (is_pseudo) {
		pos = __gadget_path_prepend(buf, pos, dentry);
		if (slot == __GADGET_PATH_SHARED)
			return pos;
	} else {
		buf->dentry = dentry;
		buf->mnt_root = mnt_root;
		buf->vfsmnt = vfsmnt;
		buf->pos = pos;
		__gadget_path_walk(slot);
		if (pos != buf->pos)
			return buf->pos;
	}
	pos -= 1;
	__GADGET_PATH_BOUND(pos);
	buf->text[pos] = '/';
	return pos;
}

/**
 * Reads the path of a file as /proc/PID/exe and /proc/PID/cwd show it to a reader outside of any chroot: " (deleted)"
 * follows where the name is gone, and a memfd is "/memfd:name (deleted)".
 *
 * @dst where it goes
 * @size how much fits; the rest of a longer path is cut off
 * @path a path in kernel memory
 * Returns the length with its NUL, or a negative error. About 4 reads for each name in the path.
 */
static __always_inline long gadget_read_path(char *dst, __u32 size, const struct path *path)
{
	for (__u32 slot = __GADGET_PATH_SHARED + 1; slot < __GADGET_PATH_SLOTS; slot++) {
		// A copy: a counter in memory is unknown to the verifier of old kernels.
		__u32 key = slot;
		struct __gadget_path_buf *buf = bpf_map_lookup_elem(&bufs, &key);
		long n = -1;

		if (!buf)
			break;
		__sync_fetch_and_add(&buf->users, 1);
		if (*(volatile __u64 *)&buf->users == 1) {
			__u64 pos = __gadget_path_build(path, buf, slot);

			__GADGET_PATH_BOUND(pos);
			n = bpf_probe_read_kernel_str(dst, size, &buf->text[pos]);
		}
		__sync_fetch_and_add(&buf->users, -1);
		if (n > 0)
			return n;
	}
	return -1;
}

/** Adds the path of a file to the strings of an event, see gadget_string_add_kernel() of strings.h. Costs what gadget_read_path() costs. */
static __always_inline gadget_string gadget_string_add_path(void *event, __u32 *used, __u64 limit,
							    const struct path *path)
{
	char *place = __gadget_string_place(event, used, limit);

	if (!place)
		return 0;
	return __gadget_string_added(used, gadget_read_path(place, GADGET_STRING_MAX, path));
}

/**
 * The path of a file, in memory of this CPU that the next call overwrites; NULL if there is none.
 *
 * @path a path in kernel memory
 * A file without a place in the tree gives its bare name: "memfd:name".
 */
static __always_inline void *get_path_str(const struct path *path)
{
	const __u32 slot = __GADGET_PATH_SHARED;
	struct __gadget_path_buf *buf = bpf_map_lookup_elem(&bufs, &slot);
	__u64 pos;

	if (!buf)
		return NULL;
	pos = __gadget_path_build(path, buf, slot);
	__GADGET_PATH_BOUND(pos);
	return &buf->text[pos];
}

/** The open file behind a descriptor of the current task, or NULL. Five reads. */
static __always_inline struct file *get_struct_file_for_fd(int fd_num)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct fdtable *fdt = BPF_CORE_READ(task, files, fdt);
	struct file **table = BPF_CORE_READ(fdt, fd);
	struct file *file = NULL;

	if (fd_num < 0 || (__u32)fd_num >= BPF_CORE_READ(fdt, max_fds))
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), &table[fd_num]);
	return file;
}

/**
 * Reads the path of the file behind a descriptor of the current task.
 *
 * Returns the length with its NUL, or a negative error.
 */
static __always_inline long read_full_path_of_open_file_fd(int fd_num, char *buf, __u64 buf_len)
{
	struct file *file = get_struct_file_for_fd(fd_num);
	void *path;

	if (!file)
		return -1;
	path = get_path_str(&file->f_path);
	if (!path)
		return -1;
	return bpf_probe_read_kernel_str(buf, buf_len, path);
}

#endif
