// SPDX-License-Identifier: GPL-2.0-only
//
// Shows each mount, unmount, and each step of the newer calls that do it in several (fsopen, fsconfig, fsmount, move_mount).
//
// One program at the end of system calls: the registers still hold what was given, and the strings, which the kernel has
// read, are in memory by now. Another one at their start takes the time.

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
#include <gadget/strings.h>
#include <gadget/syscall.h>
#include <gadget/types.h>

enum op {
	MOUNT,
	UMOUNT,
	PIVOT_ROOT,
	OPEN_TREE,
	MOVE_MOUNT,
	FSOPEN,
	FSCONFIG,
	FSMOUNT,
	FSPICK,
	MOUNT_SETATTR,
	OPEN_TREE_ATTR,
	NO_OP,
};

// What fsconfig() does: the kernel's enum fsconfig_command plus one.
enum config_cmd {
	no_cmd,
	SET_FLAG,
	SET_STRING,
	SET_BINARY,
	SET_PATH,
	SET_PATH_EMPTY,
	SET_FD,
	CMD_CREATE,
	CMD_RECONFIGURE,
	CMD_CREATE_EXCL,
};

// include/uapi/linux/mount.h
enum flags_set : __u64 {
	MS_RDONLY = 0x1,
	MS_NOSUID = 0x2,
	MS_NODEV = 0x4,
	MS_NOEXEC = 0x8,
	MS_SYNCHRONOUS = 0x10,
	MS_REMOUNT = 0x20,
	MS_MANDLOCK = 0x40,
	MS_DIRSYNC = 0x80,
	MS_NOSYMFOLLOW = 0x100,
	MS_NOATIME = 0x400,
	MS_NODIRATIME = 0x800,
	MS_BIND = 0x1000,
	MS_MOVE = 0x2000,
	MS_REC = 0x4000,
	MS_SILENT = 0x8000,
	MS_POSIXACL = 0x10000,
	MS_UNBINDABLE = 0x20000,
	MS_PRIVATE = 0x40000,
	MS_SLAVE = 0x80000,
	MS_SHARED = 0x100000,
	MS_RELATIME = 0x200000,
	MS_KERNMOUNT = 0x400000,
	MS_I_VERSION = 0x800000,
	MS_STRICTATIME = 0x1000000,
	MS_LAZYTIME = 0x2000000,
};

enum umount_flags_set : __u32 {
	MNT_FORCE = 0x1,
	MNT_DETACH = 0x2,
	MNT_EXPIRE = 0x4,
	UMOUNT_NOFOLLOW = 0x8,
};

enum attr_set : __u64 {
	MOUNT_ATTR_RDONLY = 0x1,
	MOUNT_ATTR_NOSUID = 0x2,
	MOUNT_ATTR_NODEV = 0x4,
	MOUNT_ATTR_NOEXEC = 0x8,
	MOUNT_ATTR_NOATIME = 0x10,
	MOUNT_ATTR_STRICTATIME = 0x20,
	MOUNT_ATTR_NODIRATIME = 0x80,
	MOUNT_ATTR_IDMAP = 0x100000,
	MOUNT_ATTR_NOSYMFOLLOW = 0x200000,
};

struct event {
	gadget_timestamp timestamp_raw;
	struct gadget_process proc;

	gadget_duration delta_raw;
	enum flags_set flags_raw;
	enum attr_set attr_add_raw;
	enum attr_set attr_clear_raw;
	__u64 propagation;
	gadget_errno error_raw;
	enum op op_raw;
	enum umount_flags_set umount_flags_raw;
	__u32 call_flags;
	enum config_cmd cmd_raw;
	__s32 fd;
	__s32 result_fd;

	gadget_string fs;
	gadget_string src;
	gadget_string dest;
	gadget_string data;
	gadget_string key;

	char __strings[5 * GADGET_STRING_MAX];
};

struct work {
	// How many bytes of the event are in use.
	__u32 used;
	struct event event;
};

const volatile bool failed_only = false;
const volatile bool mounts_only = false;

GADGET_PARAM(failed_only);
GADGET_PARAM(mounts_only);

GADGET_TRACER_MAP(events, 1024 * 1024);
GADGET_TRACER(mount, events, event);

GADGET_SCRATCH(works, struct work);

// When the call began, by thread.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u64);
} starts SEC(".maps");

static __always_inline enum op op_of(__u32 nr)
{
	bool compat;

	// Since Linux 5.2 calls have the same number everywhere.
	if (nr >= 428 && nr <= 433)
		return nr == 428 ? OPEN_TREE : nr == 429 ? MOVE_MOUNT : nr == 430 ? FSOPEN : nr == 431 ? FSCONFIG :
		       nr == 432 ? FSMOUNT : FSPICK;
	if (nr == 442)
		return MOUNT_SETATTR;
	if (nr == 467)
		return OPEN_TREE_ATTR;
	if (gadget_arch_is_x86() ? nr != 165 && nr != 166 && nr != 155 && nr != 21 && nr != 22 && nr != 52 && nr != 217 :
				   nr != 40 && nr != 39 && nr != 41 && nr != 21 && nr != 52 && nr != 218)
		return NO_OP;
	compat = gadget_syscall_is_compat();
	if (gadget_syscall_is(nr, compat, 165, 21, 40, 21))
		return MOUNT;
	if (gadget_syscall_is(nr, compat, 166, 52, 39, 52) || gadget_syscall_is(nr, compat, -1, 22, -1, -1))
		return UMOUNT;
	if (gadget_syscall_is(nr, compat, 155, 217, 41, 218))
		return PIVOT_ROOT;
	return NO_OP;
}

static __always_inline bool is_wanted(enum op op)
{
	return op != NO_OP && (!mounts_only || op == MOUNT || op == UMOUNT || op == MOVE_MOUNT);
}

SEC("tp_btf/sys_enter")
int BPF_PROG(call_begins, struct pt_regs *regs, long id)
{
	__u32 tid = bpf_get_current_pid_tgid();
	__u64 now;

	if (!is_wanted(op_of(gadget_syscall_number(regs))))
		return 0;
	now = bpf_ktime_get_boot_ns();
	bpf_map_update_elem(&starts, &tid, &now, BPF_ANY);
	return 0;
}

static __always_inline gadget_string add_user(struct work *work, __u64 text)
{
	return text ? gadget_string_add_user(&work->event, &work->used, sizeof(work->event), (void *)text) : 0;
}

static __always_inline gadget_string add_kernel(struct work *work, const void *text)
{
	return text ? gadget_string_add_kernel(&work->event, &work->used, sizeof(work->event), text) : 0;
}

// The file system that a descriptor of fsopen() or fspick() is for.
static __always_inline gadget_string add_context_fs(struct work *work, __s32 fd)
{
	struct file *file = get_struct_file_for_fd(fd);
	struct fs_context *context = BPF_CORE_READ(file, private_data);

	return file ? add_kernel(work, BPF_CORE_READ(context, fs_type, name)) : 0;
}

// The file system of what a descriptor is open on.
static __always_inline gadget_string add_file_fs(struct work *work, __s32 fd)
{
	struct file *file = get_struct_file_for_fd(fd);

	return file ? add_kernel(work, BPF_CORE_READ(file, f_path.mnt, mnt_sb, s_type, name)) : 0;
}

// struct mount_attr (include/uapi/linux/mount.h): what to set, what to clear, the propagation, each of 64 bits.
static __always_inline void fill_attr(struct event *event, __u64 address)
{
	__u64 attr[3] = {};

	bpf_probe_read_user(attr, sizeof(attr), (void *)address);
	event->attr_add_raw = attr[0];
	event->attr_clear_raw = attr[1];
	event->propagation = attr[2];
}

static __always_inline void fill_call(struct work *work, enum op op, struct pt_regs *regs, __s32 ret)
{
	struct event *event = &work->event;
	bool compat = gadget_syscall_is_compat();
	__u64 args[5];

	args[0] = gadget_syscall_arg(regs, 0, compat);
	args[1] = gadget_syscall_arg(regs, 1, compat);
	args[2] = gadget_syscall_arg(regs, 2, compat);
	args[3] = gadget_syscall_arg(regs, 3, compat);
	args[4] = gadget_syscall_arg(regs, 4, compat);
	event->fd = -1;
	event->result_fd = -1;

	switch (op) {
	case MOUNT:
		event->src = add_user(work, args[0]);
		event->dest = add_user(work, args[1]);
		event->fs = add_user(work, args[2]);
		event->flags_raw = args[3];
		// fs/namespace.c: a magic number of old programs in the high half is thrown away.
		if ((args[3] & 0xffff0000) == 0xc0ed0000)
			event->flags_raw = args[3] & 0xffff;
		event->data = add_user(work, args[4]);
		break;
	case UMOUNT:
		event->dest = add_user(work, args[0]);
		// The older call of i386 has no flags.
		if (!(gadget_arch_is_x86() && compat && gadget_syscall_number(regs) == 22))
			event->umount_flags_raw = args[1];
		break;
	case PIVOT_ROOT:
		event->src = add_user(work, args[0]);
		event->dest = add_user(work, args[1]);
		break;
	case OPEN_TREE:
	case OPEN_TREE_ATTR:
		event->fd = args[0];
		event->src = add_user(work, args[1]);
		event->call_flags = args[2];
		event->result_fd = ret < 0 ? -1 : ret;
		if (op == OPEN_TREE_ATTR)
			fill_attr(event, args[3]);
		if (ret >= 0)
			event->fs = add_file_fs(work, ret);
		break;
	case MOVE_MOUNT:
		event->fd = args[0];
		event->src = add_user(work, args[1]);
		event->dest = add_user(work, args[3]);
		event->call_flags = args[4];
		// MOVE_MOUNT_F_EMPTY_PATH: the descriptor is the mount.
		if (args[4] & 4)
			event->fs = add_file_fs(work, args[0]);
		break;
	case FSOPEN:
		event->fs = add_user(work, args[0]);
		event->call_flags = args[1];
		event->result_fd = ret < 0 ? -1 : ret;
		break;
	case FSCONFIG:
		event->fd = args[0];
		event->cmd_raw = (__u32)args[1] + 1;
		event->key = add_user(work, args[2]);
		// The value of the others is no text.
		if (event->cmd_raw == SET_STRING || event->cmd_raw == SET_PATH || event->cmd_raw == SET_PATH_EMPTY)
			event->data = add_user(work, args[3]);
		event->fs = add_context_fs(work, args[0]);
		break;
	case FSMOUNT:
		event->fd = args[0];
		event->call_flags = args[1];
		event->attr_add_raw = args[2];
		event->result_fd = ret < 0 ? -1 : ret;
		event->fs = add_context_fs(work, args[0]);
		break;
	case FSPICK:
		event->fd = args[0];
		event->dest = add_user(work, args[1]);
		event->call_flags = args[2];
		event->result_fd = ret < 0 ? -1 : ret;
		if (ret >= 0)
			event->fs = add_context_fs(work, ret);
		break;
	case MOUNT_SETATTR:
		event->fd = args[0];
		event->dest = add_user(work, args[1]);
		event->call_flags = args[2];
		fill_attr(event, args[3]);
		break;
	default:
		break;
	}
}

SEC("tp_btf/sys_exit")
int BPF_PROG(call_ends, struct pt_regs *regs, long result)
{
	enum op op = op_of(gadget_syscall_number(regs));
	__u32 tid = bpf_get_current_pid_tgid();
	// 32-bit calls may not have been sign-extended.
	__s32 ret = result;
	struct event *event;
	struct work *work;
	__u64 *start;
	__u64 size;

	if (!is_wanted(op))
		return 0;
	start = bpf_map_lookup_elem(&starts, &tid);
	if ((failed_only && ret >= 0) || gadget_should_discard_data_current())
		goto end;
	work = works_claim();
	if (!work) {
		__gadget_count_lost(&events);
		goto end;
	}
	event = &work->event;
	work->used = __builtin_offsetof(struct event, __strings);
	__builtin_memset(event, 0, __builtin_offsetof(struct event, __strings));
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	gadget_process_populate(&event->proc);
	event->delta_raw = start ? event->timestamp_raw - *start : 0;
	event->error_raw = ret < 0 ? -ret : 0;
	event->op_raw = op;
	fill_call(work, op, regs, ret);

	size = work->used;
	if (size <= sizeof(work->event))
		gadget_output_buf(ctx, &events, &work->event, size);
	works_release(work);
end:
	if (start)
		bpf_map_delete_elem(&starts, &tid);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
