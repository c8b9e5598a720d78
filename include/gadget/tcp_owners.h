// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause
//
// Remembers which process a TCP connection belongs to, for programs that see it when no process, or any, is running. Needs
// vmlinux.h.
//
// Brings programs of its own: at changes of state, at the end of accept() and of a socket's life, and at calls that send or
// receive. Those learn who has a connection that is older than the gadget, and need Linux 6.3; give them in gadget.yaml as
//
//   programs:
//     gadget_tcp_sends:
//       alternativeOf: owners of connections from before?
//     gadget_tcp_receives:
//       alternativeOf: owners of connections from before, by what they receive?
//
// Costs a look at each system call's number, and a lookup for each call on a socket. Kernel: 5.5.

#ifndef GADGET_TCP_OWNERS_H
#define GADGET_TCP_OWNERS_H

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <gadget/common.h>
#include <gadget/endpoints.h>
#include <gadget/syscall.h>

/** Who connected or accepted a socket, or listens on it, by its address in the kernel; the oldest are forgotten. About 2 MB. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct gadget_process);
} gadget_tcp_owners SEC(".maps");

static __always_inline void __gadget_tcp_remember(const struct sock *sk, __u64 flags)
{
	struct gadget_process proc = {};
	__u64 key = (__u64)sk;

	gadget_process_populate(&proc);
	bpf_map_update_elem(&gadget_tcp_owners, &key, &proc, flags);
}

/**
 * Fills *proc with the owner of a socket; where none is known all is 0, but user and group are -1, which is nobody. One
 * lookup.
 *
 * @sk may be NULL
 */
static __always_inline void gadget_tcp_owner_of(const struct sock *sk, struct gadget_process *proc)
{
	__u64 key = (__u64)sk;
	struct gadget_process *owner = bpf_map_lookup_elem(&gadget_tcp_owners, &key);

	if (owner) {
		__builtin_memcpy(proc, owner, sizeof(*proc));
		return;
	}
	__builtin_memset(proc, 0, sizeof(*proc));
	proc->creds.uid = -1;
	proc->creds.gid = -1;
}

SEC("raw_tp/inet_sock_set_state")
int gadget_tcp_state(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (void *)ctx->args[0];
	int state = ctx->args[2];

	if (gadget_sock_protocol(sk) != IPPROTO_TCP)
		return 0;
	// In the calls of connect() and listen(), by who makes them.
	if (state == TCP_SYN_SENT || state == TCP_LISTEN)
		__gadget_tcp_remember(sk, BPF_ANY);
	return 0;
}

// At the very end, after everything that may still be told of the socket.
SEC("raw_tp/tcp_destroy_sock")
int gadget_tcp_destroyed(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 key = ctx->args[0];

	bpf_map_delete_elem(&gadget_tcp_owners, &key);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(gadget_tcp_accepted, struct pt_regs *regs, long result)
{
	__u32 nr = gadget_syscall_number(regs);
	struct sock *sk;
	bool compat;

	// accept, accept4 and socketcall of all ABIs together, to let most calls pass quickly.
	if (result < 0 || (gadget_arch_is_x86() ? nr != 43 && nr != 288 && nr != 364 && nr != 102 :
						  nr != 202 && nr != 242 && nr != 285 && nr != 366))
		return 0;
	compat = gadget_syscall_is_compat();
	if (gadget_syscall_is(nr, compat, -1, 102, -1, -1)) {
		__u32 call = gadget_syscall_arg(regs, 0, compat);

		// include/uapi/linux/net.h: SYS_ACCEPT, SYS_ACCEPT4
		if (call != 5 && call != 18)
			return 0;
	} else if (!gadget_syscall_is(nr, compat, 43, -1, 202, 285) && !gadget_syscall_is(nr, compat, 288, 364, 242, 366)) {
		return 0;
	}
	sk = gadget_sock_of_fd(result);
	if (sk && gadget_sock_protocol(sk) == IPPROTO_TCP)
		__gadget_tcp_remember(sk, BPF_ANY);
	return 0;
}

static __always_inline int __gadget_tcp_learn(const struct sock *sk)
{
	__u64 key = (__u64)sk;

	if (!bpf_map_lookup_elem(&gadget_tcp_owners, &key) && gadget_sock_protocol(sk) == IPPROTO_TCP)
		__gadget_tcp_remember(sk, BPF_NOEXIST);
	return 0;
}

SEC("?raw_tp/sock_send_length")
int gadget_tcp_sends(struct bpf_raw_tracepoint_args *ctx)
{
	return __gadget_tcp_learn((struct sock *)ctx->args[0]);
}

SEC("?raw_tp/sock_recv_length")
int gadget_tcp_receives(struct bpf_raw_tracepoint_args *ctx)
{
	return __gadget_tcp_learn((struct sock *)ctx->args[0]);
}

#endif
