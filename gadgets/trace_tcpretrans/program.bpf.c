// SPDX-License-Identifier: GPL-2.0-only
//
// Shows each segment that TCP sends again.
//
// Seen by the tracepoints tcp_retransmit_skb and, for the answers to those who connect, tcp_retransmit_synack. They fire when
// a timer or a packet comes, in no process or in any: the owner of a connection is remembered from before.

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define GADGET_NO_BUF_RESERVE
#include <gadget/buffer.h>
#include <gadget/endpoints.h>
#include <gadget/macros.h>
#include <gadget/tcp.h>
#include <gadget/tcp_owners.h>
#include <gadget/types.h>

enum type {
	RETRANS,
	LOSS,
	SYNACK,
};

// What the connection thinks of the network (include/uapi/linux/tcp.h, enum tcp_ca_state): recovery is after duplicate
// acknowledgements, loss after a time-out.
enum congestion {
	ca_open,
	ca_disorder,
	ca_cwr,
	ca_recovery,
	ca_loss,
};

struct event {
	gadget_timestamp timestamp_raw;
	gadget_netns_id netns_id;
	struct gadget_process proc;

	struct gadget_l4endpoint_t src;
	struct gadget_l4endpoint_t dst;

	__u32 seq;
	__u32 len;
	__u32 retransmits;
	enum gadget_tcp_state state_raw;
	enum congestion reason_raw;
	enum type type_raw;
	enum gadget_tcp_flags_set tcpflags_raw;
};

GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(tcpretrans, events, event);

// include/net/inet_connection_sock.h
#define ICSK_TIME_LOSS_PROBE 5

struct trace_event_raw_tcp_retransmit_skb___since_6_17 {
	int err;
} __attribute__((preserve_access_index));

static __always_inline void begin(struct event *event, const struct sock *sk)
{
	__builtin_memset(event, 0, sizeof(*event));
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	event->netns_id = gadget_sock_netns(sk);
	gadget_tcp_owner_of(sk, &event->proc);
}

static __always_inline void send(void *ctx, struct event *event)
{
	if (!gadget_tcp_should_discard(&event->proc))
		gadget_output_buf(ctx, &events, event, sizeof(*event));
}

SEC("raw_tp/tcp_retransmit_skb")
int segment_sent_again(struct bpf_raw_tracepoint_args *ctx)
{
	const struct sock *sk = (void *)ctx->args[0];
	const struct sk_buff *skb = (void *)ctx->args[1];
	const struct inet_connection_sock *icsk = (const struct inet_connection_sock *)sk;
	struct event event;

	// Since Linux 6.17 it tells failures, too: nothing was sent then.
	if (bpf_core_field_exists(((struct trace_event_raw_tcp_retransmit_skb___since_6_17 *)0)->err) && (int)ctx->args[2])
		return 0;
	begin(&event, sk);
	if (!gadget_sock_endpoints(sk, &event.src, &event.dst))
		return 0;
	event.seq = gadget_tcp_sent_seq(skb);
	// The sequence numbers also count SYN and FIN; the segment's own length is that of its data.
	event.len = BPF_CORE_READ(skb, len);
	event.tcpflags_raw = gadget_tcp_sent_flags(skb);
	event.retransmits = BPF_CORE_READ(icsk, icsk_retransmits);
	event.state_raw = gadget_tcp_state_of(sk);
	event.reason_raw = BPF_CORE_READ_BITFIELD_PROBED(icsk, icsk_ca_state);
	// A probe for a loss at the end comes before anything is known to be lost.
	event.type_raw = event.reason_raw < ca_recovery && BPF_CORE_READ(icsk, icsk_pending) == ICSK_TIME_LOSS_PROBE ? LOSS : RETRANS;
	send(ctx, &event);
	return 0;
}

SEC("raw_tp/tcp_retransmit_synack")
int synack_sent_again(struct bpf_raw_tracepoint_args *ctx)
{
	const struct sock *listener = (void *)ctx->args[0];
	const struct request_sock *request = (void *)ctx->args[1];
	const struct tcp_request_sock *tcp = (const struct tcp_request_sock *)request;
	const struct sock_common *common = &request->__req_common;
	struct event event;
	__u32 address[4];

	begin(&event, listener);
	if (BPF_CORE_READ(common, skc_family) == __GADGET_EP_AF_INET) {
		event.src.addr_raw.v4 = BPF_CORE_READ(common, skc_rcv_saddr);
		event.dst.addr_raw.v4 = BPF_CORE_READ(common, skc_daddr);
		event.src.version = event.dst.version = 4;
	} else {
		BPF_CORE_READ_INTO(&address, common, skc_v6_rcv_saddr);
		gadget_endpoint_set_v6(&event.src, address);
		BPF_CORE_READ_INTO(&address, common, skc_v6_daddr);
		gadget_endpoint_set_v6(&event.dst, address);
	}
	event.src.port = BPF_CORE_READ(common, skc_num);
	event.dst.port = bpf_ntohs(BPF_CORE_READ(common, skc_dport));
	event.src.proto_raw = event.dst.proto_raw = IPPROTO_TCP;
	event.seq = BPF_CORE_READ(tcp, snt_isn);
	event.tcpflags_raw = SYN | ACK;
	event.retransmits = BPF_CORE_READ_BITFIELD_PROBED(request, num_retrans);
	event.state_raw = BPF_CORE_READ(common, skc_state);
	event.type_raw = SYNACK;
	send(ctx, &event);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
