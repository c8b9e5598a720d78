// SPDX-License-Identifier: GPL-2.0-only
//
// Shows TCP and UDP sockets of every network namespace. User space runs the iterators in each of them.

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

#include <gadget/macros.h>
#include <gadget/types.h>

#define AF_INET 2
#define AF_INET6 10

// include/net/tcp_states.h
enum socket_state {
	ESTABLISHED = 1,
	SYN_SENT,
	SYN_RECV,
	FIN_WAIT1,
	FIN_WAIT2,
	TIME_WAIT,
	CLOSE,
	CLOSE_WAIT,
	LAST_ACK,
	LISTEN,
	CLOSING,
	NEW_SYN_RECV,
	BOUND_INACTIVE,
};

struct socket_entry {
	struct gadget_l4endpoint_t src;
	struct gadget_l4endpoint_t dst;
	enum socket_state state_raw;
	__u32 ino;
	gadget_netns_id netns_id;
	__u32 __pad;
};

GADGET_ITER(sockets, socket_entry, snapshot_tcp, snapshot_udp);

// The inode that /proc/PID/fd shows; 0 of a socket that no file belongs to.
static __always_inline __u32 inode_of(struct sock *sk)
{
	struct socket *socket = BPF_CORE_READ(sk, sk_socket);
	struct socket_alloc *alloc;

	if (!socket)
		return 0;
	alloc = (void *)socket - bpf_core_field_offset(struct socket_alloc, socket);
	return BPF_CORE_READ(alloc, vfs_inode.i_ino);
}

// Ports as the kernel has them: the own one in the host's byte order, the other in the network's.
static __always_inline void write_row(struct seq_file *seq, struct sock_common *sk, __u16 proto, __u16 sport,
				      enum socket_state state, __u32 ino)
{
	struct socket_entry row = {};
	__u16 family = BPF_CORE_READ(sk, skc_family);

	if (family == AF_INET) {
		row.src.version = row.dst.version = 4;
		row.src.addr_raw.v4 = BPF_CORE_READ(sk, skc_rcv_saddr);
		row.dst.addr_raw.v4 = BPF_CORE_READ(sk, skc_daddr);
	} else if (family == AF_INET6) {
		row.src.version = row.dst.version = 6;
		BPF_CORE_READ_INTO(&row.src.addr_raw.v6, sk, skc_v6_rcv_saddr.in6_u.u6_addr8);
		BPF_CORE_READ_INTO(&row.dst.addr_raw.v6, sk, skc_v6_daddr.in6_u.u6_addr8);
	} else {
		return;
	}
	row.src.proto_raw = row.dst.proto_raw = proto;
	row.src.port = sport;
	row.dst.port = bpf_ntohs(BPF_CORE_READ(sk, skc_dport));
	row.state_raw = state;
	row.ino = ino;
	row.netns_id = BPF_CORE_READ(sk, skc_net.net, ns.inum);
	bpf_seq_write(seq, &row, sizeof(row));
}

SEC("iter/tcp")
int snapshot_tcp(struct bpf_iter__tcp *ctx)
{
	struct sock_common *sk = ctx->sk_common;
	struct seq_file *seq = ctx->meta->seq;
	struct tcp_timewait_sock *waiting;
	struct tcp_request_sock *request;
	struct tcp_sock *tcp;

	if (!sk)
		return 0;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (tcp) {
		write_row(seq, sk, IPPROTO_TCP, BPF_CORE_READ(sk, skc_num), BPF_CORE_READ(sk, skc_state),
			  inode_of((struct sock *)tcp));
		return 0;
	}
	// What is left of a closed connection has no file, and keeps its state beside.
	waiting = bpf_skc_to_tcp_timewait_sock(sk);
	if (waiting) {
		write_row(seq, sk, IPPROTO_TCP, BPF_CORE_READ(sk, skc_num), BPF_CORE_READ(waiting, tw_sk.tw_substate), 0);
		return 0;
	}
	// A connection that is not there yet. /proc/net/tcp shows it as SYN_RECV too.
	request = bpf_skc_to_tcp_request_sock(sk);
	if (request)
		write_row(seq, sk, IPPROTO_TCP, BPF_CORE_READ(sk, skc_num), SYN_RECV, 0);
	return 0;
}

SEC("iter/udp")
int snapshot_udp(struct bpf_iter__udp *ctx)
{
	struct sock_common *sk = (struct sock_common *)ctx->udp_sk;

	if (!sk)
		return 0;
	write_row(ctx->meta->seq, sk, IPPROTO_UDP, BPF_CORE_READ(sk, skc_num), BPF_CORE_READ(sk, skc_state),
		  inode_of((struct sock *)sk));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
