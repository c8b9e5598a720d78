// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause
//
// What gadgets about single segments of TCP have in common: states and flags under their names, and what the kernel notes of a
// segment that it has not given headers yet. Needs vmlinux.h. Kernel: 5.4.

#ifndef GADGET_TCP_H
#define GADGET_TCP_H

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <gadget/endpoints.h>
#include <gadget/filter.h>
#include <gadget/types.h>

/** The state of a connection (include/net/tcp_states.h), or no_socket, which the kernel has no number for. */
enum gadget_tcp_state {
	no_socket,
	tcp_established,
	tcp_syn_sent,
	tcp_syn_recv,
	tcp_fin_wait1,
	tcp_fin_wait2,
	tcp_time_wait,
	tcp_close,
	tcp_close_wait,
	tcp_last_ack,
	tcp_listen,
	tcp_closing,
	tcp_new_syn_recv,
};

/** The flags of a segment (include/net/tcp.h): its header's 14th byte. */
enum gadget_tcp_flags_set : __u8 {
	FIN = 0x01,
	SYN = 0x02,
	RST = 0x04,
	PSH = 0x08,
	ACK = 0x10,
	URG = 0x20,
	ECE = 0x40,
	CWR = 0x80,
};

/** The sequence number of a segment on its way out, which need not have a header yet. One read. */
static __always_inline __u32 gadget_tcp_sent_seq(const struct sk_buff *skb)
{
	const struct tcp_skb_cb *cb = (const struct tcp_skb_cb *)&skb->cb;

	return BPF_CORE_READ(cb, seq);
}

/** The flags of a segment on its way out. One read. */
static __always_inline enum gadget_tcp_flags_set gadget_tcp_sent_flags(const struct sk_buff *skb)
{
	const struct tcp_skb_cb *cb = (const struct tcp_skb_cb *)&skb->cb;

	// Eight bits of 16 since Linux 6.16.
	return BPF_CORE_READ_BITFIELD_PROBED(cb, tcp_flags);
}

/** The state of a socket. One read. */
static __always_inline enum gadget_tcp_state gadget_tcp_state_of(const struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_state);
}

/** Whether a socket is more than what is left of one or will be one: those two are smaller structs. One read. */
static __always_inline bool gadget_tcp_is_full_socket(const struct sock *sk)
{
	enum gadget_tcp_state state = gadget_tcp_state_of(sk);

	return state != tcp_time_wait && state != tcp_new_syn_recv;
}

/** True when any filter refuses events of this process. Costs what gadget_should_discard_data() costs. */
static __always_inline bool gadget_tcp_should_discard(struct gadget_process *proc)
{
	return gadget_should_discard_data(proc->mntns_id, proc->pid, proc->tid, proc->comm, proc->creds.uid, proc->creds.gid);
}

#endif
