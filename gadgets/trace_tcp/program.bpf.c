// SPDX-License-Identifier: GPL-2.0-only
//
// Shows each TCP connection that is made, accepted and closed, and each try that failed.
//
// What happens to connections is seen where sockets change their state (the tracepoint inet_sock_set_state). That may be
// in any process, or none, when a packet comes: so each socket keeps who connected or accepted it. Accepted connections, and
// calls that failed before anything was sent, are seen at the end of system calls.

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define GADGET_NO_BUF_RESERVE
#include <gadget/buffer.h>
#include <gadget/common.h>
#include <gadget/endpoints.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/syscall.h>
#include <gadget/types.h>

#define EINTR 4
#define EAGAIN 11
#define ECONNABORTED 103
#define EALREADY 114
#define EINPROGRESS 115
// include/linux/errno.h: codes that never leave the kernel, the first and the last.
#define ERESTARTSYS 512
#define ERESTART_RESTARTBLOCK 516

enum event_type {
	connect,
	accept,
	close,
};

struct event {
	gadget_timestamp timestamp_raw;
	struct gadget_process proc;
	gadget_netns_id netns_id;

	struct gadget_l4endpoint_t src;
	struct gadget_l4endpoint_t dst;

	enum event_type type_raw;
	gadget_errno error_raw;
	__s32 fd;
	__s32 accept_fd;
	gadget_duration duration_raw;
};

const volatile bool accept_only = false;
const volatile bool connect_only = false;
const volatile bool close_only = false;
const volatile bool failure_only = false;

GADGET_PARAM(accept_only);
GADGET_PARAM(connect_only);
GADGET_PARAM(close_only);
GADGET_PARAM(failure_only);

GADGET_TRACER_MAP(events, 1024 * 1024);
GADGET_TRACER(tracetcp, events, event);

// Who connected or accepted a socket, and when.
struct connection {
	struct gadget_process proc;
	__u64 start;
	__s32 fd;
	// Whether its connect event is still to come.
	bool connecting;
};

// By socket. The kernel forgets the oldest where there are more.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct connection);
} connections SEC(".maps");

// A call of connect() that goes on.
struct call {
	__u64 sock;
	__s32 fd;
	// Its failure has been shown.
	bool shown;
};

// By thread.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct call);
} calls SEC(".maps");

static __always_inline bool is_wanted(enum event_type type, int error)
{
	if (accept_only || connect_only || close_only) {
		if (!(accept_only && type == accept) && !(connect_only && type == connect) && !(close_only && type == close))
			return false;
	}
	return !failure_only || error;
}

// Begins an event with all that has to do with the socket; false where it is not wanted.
static __always_inline bool begin(struct event *event, enum event_type type, struct sock *sk, int error)
{
	if (!is_wanted(type, error))
		return false;
	__builtin_memset(event, 0, sizeof(*event));
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	event->netns_id = gadget_sock_netns(sk);
	event->type_raw = type;
	event->error_raw = error;
	event->fd = -1;
	event->accept_fd = -1;
	return gadget_sock_endpoints(sk, &event->src, &event->dst);
}

static __always_inline void send(void *ctx, struct event *event)
{
	struct gadget_process *proc = &event->proc;

	if (!gadget_should_discard_data(proc->mntns_id, proc->pid, proc->tid, proc->comm, proc->creds.uid, proc->creds.gid))
		gadget_output_buf(ctx, &events, event, sizeof(*event));
}

static __always_inline void show_connect(void *ctx, struct sock *sk, struct connection *connection, int error)
{
	__u32 tid = connection->proc.tid;
	struct call *call = bpf_map_lookup_elem(&calls, &tid);
	struct event event;

	if (call && call->sock == (__u64)sk)
		call->shown = true;
	if (!begin(&event, connect, sk, error))
		return;
	__builtin_memcpy(&event.proc, &connection->proc, sizeof(event.proc));
	event.fd = connection->fd;
	event.duration_raw = event.timestamp_raw - connection->start;
	send(ctx, &event);
}

// The current task is the one that closes, unless an error of the network ended the connection.
static __always_inline void show_close(void *ctx, struct sock *sk, struct connection *connection, int error)
{
	struct event event;

	if (!begin(&event, close, sk, error))
		return;
	if (!error)
		gadget_process_populate(&event.proc);
	// A process that is ending has no mount namespace any more.
	if (connection && !event.proc.mntns_id)
		__builtin_memcpy(&event.proc, &connection->proc, sizeof(event.proc));
	// Nobody, not the first user.
	if (!connection && error)
		event.proc.creds.uid = event.proc.creds.gid = -1;
	if (connection)
		event.duration_raw = event.timestamp_raw - connection->start;
	send(ctx, &event);
}

static __always_inline void remember_connect(struct sock *sk)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct call *call = bpf_map_lookup_elem(&calls, &tid);
	struct connection connection = { .fd = -1, .connecting = true };
	__u64 key = (__u64)sk;

	gadget_process_populate(&connection.proc);
	connection.start = bpf_ktime_get_boot_ns();
	if (call) {
		call->sock = key;
		connection.fd = call->fd;
	}
	bpf_map_update_elem(&connections, &key, &connection, BPF_ANY);
}

// Whether the current task is in a call of connect() of this socket.
static __always_inline bool is_in_connect(struct sock *sk)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct call *call = bpf_map_lookup_elem(&calls, &tid);

	return call && call->sock == (__u64)sk;
}

SEC("raw_tp/inet_sock_set_state")
int state_changed(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (void *)ctx->args[0];
	int old_state = ctx->args[1];
	int new_state = ctx->args[2];
	struct connection *connection;
	__u64 key = (__u64)sk;
	int error;

	if (gadget_sock_protocol(sk) != IPPROTO_TCP)
		return 0;
	if (new_state == TCP_SYN_SENT) {
		remember_connect(sk);
		return 0;
	}
	connection = bpf_map_lookup_elem(&connections, &key);
	if (new_state == TCP_ESTABLISHED) {
		if (connection && connection->connecting) {
			connection->connecting = false;
			show_connect(ctx, sk, connection, 0);
		}
		return 0;
	}
	// What the network did: set before the state is. 0 where a process of this machine did it.
	error = BPF_CORE_READ(sk, sk_err);
	if (new_state == TCP_FIN_WAIT1 || new_state == TCP_LAST_ACK) {
		show_close(ctx, sk, connection, 0);
	} else if (new_state == TCP_CLOSE) {
		if (old_state == TCP_ESTABLISHED || old_state == TCP_CLOSE_WAIT) {
			show_close(ctx, sk, connection, error);
		} else if (connection && connection->connecting && (error || !is_in_connect(sk))) {
			// A call that failed by itself is shown at its end, with its error. Else the socket was closed too early.
			show_connect(ctx, sk, connection, error ? error : ECONNABORTED);
		}
		if (connection)
			bpf_map_delete_elem(&connections, &key);
	}
	return 0;
}

// Which call this is and its first two arguments; false for another.
struct socket_call {
	enum event_type type;
	__s32 fd;
	__u64 address;
};

static __always_inline bool socket_call_of(struct pt_regs *regs, struct socket_call *call)
{
	__u32 nr = gadget_syscall_number(regs);
	bool compat;

	// connect, accept, accept4 and socketcall of all ABIs together, to let most calls pass quickly.
	if (gadget_arch_is_x86() ? nr != 42 && nr != 43 && nr != 288 && nr != 362 && nr != 364 && nr != 102 :
				   nr != 203 && nr != 202 && nr != 242 && nr != 283 && nr != 285 && nr != 366)
		return false;
	compat = gadget_syscall_is_compat();
	call->fd = gadget_syscall_arg(regs, 0, compat);
	call->address = gadget_syscall_arg(regs, 1, compat);
	if (gadget_syscall_is(nr, compat, 42, 362, 203, 283)) {
		call->type = connect;
		return true;
	}
	if (gadget_syscall_is(nr, compat, 43, -1, 202, 285) || gadget_syscall_is(nr, compat, 288, 364, 242, 366)) {
		call->type = accept;
		return true;
	}
	// include/uapi/linux/net.h: SYS_CONNECT is 3, SYS_ACCEPT 5, SYS_ACCEPT4 18; the arguments lie in memory.
	if (gadget_syscall_is(nr, compat, -1, 102, -1, -1) && (call->fd == 3 || call->fd == 5 || call->fd == 18)) {
		__u32 args[2] = {};

		call->type = call->fd == 3 ? connect : accept;
		bpf_probe_read_user(args, sizeof(args), (void *)call->address);
		call->fd = args[0];
		call->address = args[1];
		return true;
	}
	return false;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(call_begins, struct pt_regs *regs, long id)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct socket_call socket_call;
	struct call call = {};

	if (!socket_call_of(regs, &socket_call) || socket_call.type != connect)
		return 0;
	call.fd = socket_call.fd;
	bpf_map_update_elem(&calls, &tid, &call, BPF_ANY);
	return 0;
}

static __always_inline void accept_done(void *ctx, const struct socket_call *call, __s32 ret)
{
	struct sock *sk = gadget_sock_of_fd(ret >= 0 ? ret : call->fd);
	struct connection connection = { .fd = ret };
	__u64 key = (__u64)sk;
	struct event event;

	if (!sk || gadget_sock_protocol(sk) != IPPROTO_TCP)
		return;
	// Nobody was waiting.
	if (ret == -EAGAIN)
		return;
	gadget_process_populate(&connection.proc);
	connection.start = bpf_ktime_get_boot_ns();
	if (ret >= 0)
		bpf_map_update_elem(&connections, &key, &connection, BPF_ANY);

	if (!begin(&event, accept, sk, ret < 0 ? -ret : 0))
		return;
	__builtin_memcpy(&event.proc, &connection.proc, sizeof(event.proc));
	event.fd = call->fd;
	if (ret >= 0)
		event.accept_fd = ret;
	send(ctx, &event);
}

// Shows a call that failed before anything was sent.
static __always_inline void connect_failed(void *ctx, const struct socket_call *call, struct call *begun, __s32 ret)
{
	struct sock *sk = begun->sock ? (struct sock *)begun->sock : gadget_sock_of_fd(call->fd);
	struct event event;

	if (begun->shown || ret == -EINPROGRESS || ret == -EALREADY || !sk || gadget_sock_protocol(sk) != IPPROTO_TCP)
		return;
	if (!begin(&event, connect, sk, -ret))
		return;
	gadget_process_populate(&event.proc);
	event.fd = call->fd;
	gadget_endpoint_from_user(&event.dst, (void *)call->address);
	send(ctx, &event);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(call_ends, struct pt_regs *regs, long result)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct socket_call call;
	// 32-bit calls may not have been sign-extended.
	__s32 ret = result;
	struct call *begun;

	if (!socket_call_of(regs, &call))
		return 0;
	// A signal came: nothing has been decided.
	if (ret == -EINTR || (ret <= -ERESTARTSYS && ret >= -ERESTART_RESTARTBLOCK))
		goto end;
	if (call.type == accept) {
		accept_done(ctx, &call, ret);
		return 0;
	}
	begun = bpf_map_lookup_elem(&calls, &tid);
	if (begun && ret < 0)
		connect_failed(ctx, &call, begun, ret);
end:
	if (call.type == connect)
		bpf_map_delete_elem(&calls, &tid);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
