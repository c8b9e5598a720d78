// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// System calls after which a socket is another process's: close, accept, messages with descriptors.

/* Of system calls in progress what their end needs. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u64);
} calls SEC(".maps");

struct call_begins {
	__u64 common;
	long nr;
	__u64 args[6];
};

struct call_ends {
	__u64 common;
	long nr;
	long result;
};

static __always_inline int closes(__u32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct sock *sk = (struct sock *)socket_of(file_of(task, fd));

	if (!sk)
		return 0;
	if (!has_release || references(sk) > 1)
		close_range(task, fd, fd);
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_close")
int close_begins(struct call_begins *ctx)
{
	return closes(ctx->args[0]);
}

/* The second descriptor is closed first, if there is something to put there. */
static __always_inline int replaces(__u32 from, __u32 to)
{
	if (from == to || !file_of((void *)bpf_get_current_task(), from))
		return 0;
	return closes(to);
}

SEC("tracepoint/syscalls/sys_enter_dup2")
int dup2_begins(struct call_begins *ctx)
{
	return replaces(ctx->args[0], ctx->args[1]);
}

SEC("tracepoint/syscalls/sys_enter_dup3")
int dup3_begins(struct call_begins *ctx)
{
	return replaces(ctx->args[0], ctx->args[1]);
}

#define CLOSE_RANGE_CLOEXEC 4

SEC("tracepoint/syscalls/sys_enter_close_range")
int close_range_begins(struct call_begins *ctx)
{
	__u32 first = ctx->args[0];
	__u32 last = ctx->args[1];

	if (first <= last && !(ctx->args[2] & CLOSE_RANGE_CLOEXEC))
		close_range((void *)bpf_get_current_task(), first, last);
	return 0;
}

static __always_inline int accepted(long fd)
{
	__u64 sk;

	if (fd < 0)
		return 0;
	sk = socket_of(file_of((void *)bpf_get_current_task(), fd));
	if (sk)
		act_in_place(sk, false);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_accept")
int accept_ends(struct call_ends *ctx)
{
	return accepted(ctx->result);
}

SEC("tracepoint/syscalls/sys_exit_accept4")
int accept4_ends(struct call_ends *ctx)
{
	return accepted(ctx->result);
}

/* The descriptor has come from another process. */
__noinline int received(__u32 fd)
{
	__u64 sk = socket_of(file_of((void *)bpf_get_current_task(), fd));

	if (sk)
		receive(sk);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_pidfd_getfd")
int pidfd_getfd_ends(struct call_ends *ctx)
{
	if (ctx->result >= 0)
		received(ctx->result);
	return 0;
}

static __always_inline int message_begins(struct call_begins *ctx)
{
	struct file *file = file_of((void *)bpf_get_current_task(), ctx->args[0]);
	__u64 id = bpf_get_current_pid_tgid();
	__u64 message = ctx->args[1];
	struct socket *socket;

	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	if (!socket || BPF_CORE_READ(socket, sk, __sk_common.skc_family) != AF_UNIX)
		return 0;
	bpf_map_update_elem(&calls, &id, &message, BPF_ANY);
	return 0;
}

/* struct user_msghdr and struct cmsghdr, as 64-bit programs have them. */
struct message {
	__u64 name;
	__u64 namelen;
	__u64 iov;
	__u64 iovlen;
	__u64 control;
	__u64 controllen;
	__u64 flags;
	/* Only of struct mmsghdr. */
	__u64 len;
};

struct control_message {
	__u64 len;
	__u32 level;
	__u32 type;
};

/* How many messages of one call, parts of one message, and descriptors of one part (SCM_MAX_FD) are looked at. */
#define MAX_MESSAGES 64
#define MAX_CONTROL 4
#define MAX_DESCRIPTORS 253

__noinline int descriptors_received(__u64 at, __u64 size)
{
	for (__u32 i = 0; i < MAX_DESCRIPTORS; i++) {
		__u32 fd;

		if ((__u64)i * 4 + 4 > size || bpf_probe_read_user(&fd, sizeof(fd), (void *)(at + (__u64)i * 4)))
			break;
		received(fd);
	}
	return 0;
}

__noinline int message_received(__u64 address)
{
	struct message message;
	struct control_message control;
	__u64 at = 0;

	if (bpf_probe_read_user(&message, 56, (void *)address))
		return 0;
	for (int i = 0; i < MAX_CONTROL; i++) {
		if (at + sizeof(control) > message.controllen ||
		    bpf_probe_read_user(&control, sizeof(control), (void *)(message.control + at)))
			return 0;
		if (control.len < sizeof(control))
			return 0;
		if (control.level == SOL_SOCKET && control.type == SCM_RIGHTS)
			descriptors_received(message.control + at + sizeof(control), control.len - sizeof(control));
		at += (control.len + 7) & ~7ULL;
	}
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_recvmsg")
int recvmsg_begins(struct call_begins *ctx)
{
	return message_begins(ctx);
}

SEC("tracepoint/syscalls/sys_enter_recvmmsg")
int recvmmsg_begins(struct call_begins *ctx)
{
	return message_begins(ctx);
}

SEC("tracepoint/syscalls/sys_exit_recvmsg")
int recvmsg_ends(struct call_ends *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u64 *message = bpf_map_lookup_elem(&calls, &id);

	if (!message)
		return 0;
	if (ctx->result >= 0)
		message_received(*message);
	bpf_map_delete_elem(&calls, &id);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_recvmmsg")
int recvmmsg_ends(struct call_ends *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u64 *messages = bpf_map_lookup_elem(&calls, &id);
	__u64 first;

	if (!messages)
		return 0;
	first = *messages;
	for (int i = 0; i < MAX_MESSAGES; i++) {
		if (i >= ctx->result)
			break;
		message_received(first + (__u64)i * 64);
	}
	bpf_map_delete_elem(&calls, &id);
	return 0;
}

/* Where no cgroup tells of a bind. */
SEC("?tracepoint/syscalls/sys_enter_bind")
int bind_begins(struct call_begins *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u64 sk = socket_of(file_of((void *)bpf_get_current_task(), ctx->args[0]));

	if (sk)
		bpf_map_update_elem(&calls, &id, &sk, BPF_ANY);
	return 0;
}

SEC("?tracepoint/syscalls/sys_exit_bind")
int bind_ends(struct call_ends *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u64 *sk = bpf_map_lookup_elem(&calls, &id);

	if (!sk)
		return 0;
	if (ctx->result == 0)
		act_in_place(*sk, true);
	bpf_map_delete_elem(&calls, &id);
	return 0;
}
