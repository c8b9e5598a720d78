// SPDX-License-Identifier: GPL-2.0-only
//
// Shows each TCP packet that the kernel throws away, and why.
//
// Seen by the tracepoint kfree_skb, which fires where packets are dropped, not where they have been used up. It fires when a
// packet comes, in no process or in any: the owner of a connection is remembered from before.

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_endian.h>

#define GADGET_NO_BUF_RESERVE
#include <gadget/buffer.h>
#include <gadget/endpoints.h>
#include <gadget/kernel_stack_map.h>
#include <gadget/macros.h>
#include <gadget/tcp.h>
#include <gadget/tcp_owners.h>
#include <gadget/types.h>

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
// What may stand before TCP in IPv6 (include/net/ipv6.h), and how many of these are looked at.
#define NEXTHDR_HOP 0
#define NEXTHDR_ROUTING 43
#define NEXTHDR_FRAGMENT 44
#define NEXTHDR_DEST 60
#define MAX_HEADERS 4

struct event {
	gadget_timestamp timestamp_raw;
	gadget_netns_id netns_id;
	struct gadget_process proc;

	struct gadget_l4endpoint_t src;
	struct gadget_l4endpoint_t dst;

	enum gadget_tcp_state state_raw;
	enum skb_drop_reason reason_raw;
	gadget_kernel_stack kernel_stack_raw;
	__u32 seq;
	__u32 len;
	enum gadget_tcp_flags_set tcpflags_raw;
};

const volatile bool collect_kstack = true;
GADGET_PARAM(collect_kstack);

GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(tcpdrop, events, event);

struct trace_event_raw_kfree_skb___since_5_17 {
	enum skb_drop_reason reason;
} __attribute__((preserve_access_index));

struct trace_event_raw_kfree_skb___since_6_11 {
	void *rx_sk;
} __attribute__((preserve_access_index));

// Where the TCP header of a packet begins, as an offset from skb->head, its addresses, and in event->len how long it is with
// that header; 0 where it is no TCP packet, or where its headers are not written yet.
static __always_inline __u32 parse_ip(struct sk_buff *skb, struct event *event)
{
	unsigned char *head = BPF_CORE_READ(skb, head);
	__u32 at = BPF_CORE_READ(skb, network_header);
	__u16 protocol = BPF_CORE_READ(skb, protocol);

	// Not set: all ones.
	if (at == 0xffff)
		return 0;
	if (protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (bpf_probe_read_kernel(&ip, sizeof(ip), head + at) || ip.version != 4 || ip.protocol != IPPROTO_TCP ||
		    ip.ihl < 5 || (ip.frag_off & bpf_htons(0x1fff)))
			return 0;
		event->src.addr_raw.v4 = ip.saddr;
		event->dst.addr_raw.v4 = ip.daddr;
		event->src.version = event->dst.version = 4;
		event->len = bpf_ntohs(ip.tot_len) - ip.ihl * 4;
		return at + ip.ihl * 4;
	}
	if (protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr ip;
		__u32 start;
		__u8 next;

		if (bpf_probe_read_kernel(&ip, sizeof(ip), head + at) || ip.version != 6)
			return 0;
		next = ip.nexthdr;
		at += sizeof(ip);
		start = at;
#pragma unroll
		for (int i = 0; i < MAX_HEADERS; i++) {
			__u8 header[4];

			if (next != NEXTHDR_HOP && next != NEXTHDR_ROUTING && next != NEXTHDR_FRAGMENT && next != NEXTHDR_DEST)
				break;
			if (bpf_probe_read_kernel(header, sizeof(header), head + at))
				return 0;
			// Only the first fragment has the header of TCP.
			if (next == NEXTHDR_FRAGMENT && (header[2] || header[3] & 0xf8))
				return 0;
			at += next == NEXTHDR_FRAGMENT ? 8 : (header[1] + 1) * 8;
			next = header[0];
		}
		if (next != IPPROTO_TCP)
			return 0;
		__builtin_memcpy(event->src.addr_raw.v6, &ip.saddr, sizeof(ip.saddr));
		__builtin_memcpy(event->dst.addr_raw.v6, &ip.daddr, sizeof(ip.daddr));
		event->src.version = event->dst.version = 6;
		event->len = bpf_ntohs(ip.payload_len) - (at - start);
		return at;
	}
	return 0;
}

// Takes everything from the packet; false where it is no TCP packet that has its headers.
static __always_inline bool fill_from_packet(struct event *event, struct sk_buff *skb)
{
	__u32 at = parse_ip(skb, event);
	unsigned char *head = BPF_CORE_READ(skb, head);
	struct tcphdr tcp;
	__u8 flags;

	if (!at || bpf_probe_read_kernel(&tcp, sizeof(tcp), head + at))
		return false;
	event->src.port = bpf_ntohs(tcp.source);
	event->dst.port = bpf_ntohs(tcp.dest);
	event->seq = bpf_ntohl(tcp.seq);
	// The 14th byte of the header.
	bpf_probe_read_kernel(&flags, sizeof(flags), head + at + 13);
	event->tcpflags_raw = flags;
	event->len -= tcp.doff * 4;
	return true;
}

// A packet on its way out that has no headers yet: the socket and the notes of TCP tell what it would be.
static __always_inline bool fill_from_socket(struct event *event, struct sock *sk, struct sk_buff *skb)
{
	if (!sk || gadget_sock_protocol(sk) != IPPROTO_TCP || !gadget_sock_endpoints(sk, &event->src, &event->dst))
		return false;
	event->seq = gadget_tcp_sent_seq(skb);
	event->tcpflags_raw = gadget_tcp_sent_flags(skb);
	return true;
}

SEC("raw_tp/kfree_skb")
int packet_dropped(struct bpf_raw_tracepoint_args *ctx)
{
	struct sk_buff *skb = (void *)ctx->args[0];
	struct sock *sk = BPF_CORE_READ(skb, sk);
	int reason = SKB_DROP_REASON_NOT_SPECIFIED;
	struct event event;
	struct net *net;

	if (bpf_core_field_exists(((struct trace_event_raw_kfree_skb___since_5_17 *)0)->reason)) {
		reason = ctx->args[2];
		if (reason == 0 || (bpf_core_enum_value_exists(enum skb_drop_reason, SKB_CONSUMED) &&
				    reason == bpf_core_enum_value(enum skb_drop_reason, SKB_CONSUMED)))
			return 0;
	}
	// The socket that a packet was for, where one was found.
	if (!sk && bpf_core_field_exists(((struct trace_event_raw_kfree_skb___since_6_11 *)0)->rx_sk))
		sk = (struct sock *)ctx->args[3];

	__builtin_memset(&event, 0, sizeof(event));
	if (fill_from_packet(&event, skb)) {
		event.src.proto_raw = event.dst.proto_raw = IPPROTO_TCP;
	} else if (!fill_from_socket(&event, sk, skb)) {
		return 0;
	} else {
		event.len = BPF_CORE_READ(skb, len);
	}

	event.timestamp_raw = bpf_ktime_get_boot_ns();
	event.reason_raw = reason;
	net = sk ? BPF_CORE_READ(sk, __sk_common.skc_net.net) : BPF_CORE_READ(skb, dev, nd_net.net);
	event.netns_id = BPF_CORE_READ(net, ns.inum);
	if (sk)
		event.state_raw = gadget_tcp_state_of(sk);
	gadget_tcp_owner_of(sk && gadget_tcp_is_full_socket(sk) ? sk : NULL, &event.proc);
	if (gadget_tcp_should_discard(&event.proc))
		return 0;
	if (collect_kstack)
		event.kernel_stack_raw = gadget_get_kernel_stack(ctx);
	gadget_output_buf(ctx, &events, &event, sizeof(event));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
