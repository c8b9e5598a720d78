// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause
//
// Reads the headers of a packet, for programs of sections socket... and classifier/.... Kernel: 4.18.
//
// Include <vmlinux.h> or <linux/types.h> first, and define GADGET_TYPE_NETWORKING before including this file. Kernel: 4.18.

#ifndef GADGET_PACKET_H
#define GADGET_PACKET_H

#include <gadget/sockets-map.h>

#ifdef GADGET_TYPE_NETWORKING

/** Where the parts of a packet are, counted from its network header. */
struct gadget_packet {
	/** The TCP or UDP header. */
	__u32 transport;
	/** What TCP or UDP carries, and the byte after its last. */
	__u32 payload;
	__u32 end;
	/** IPPROTO_TCP or IPPROTO_UDP. */
	__u8 proto;
};

/**
 * Finds the headers of a TCP or UDP packet; false for any other, for the later fragments of a packet, and for headers that
 * are cut off.
 *
 * @skb the program's context
 * Eight to about fourteen reads. Kernel: 4.18.
 */
static __always_inline bool gadget_packet_read(const struct __sk_buff *skb, struct gadget_packet *packet,
					       struct gadget_l4endpoint_t *src, struct gadget_l4endpoint_t *dst)
{
	__u16 ports[2];
	__u16 length, protocol;
	__u8 words;

	__builtin_memset(packet, 0, sizeof(*packet));
	__builtin_memset(src, 0, sizeof(*src));
	__builtin_memset(dst, 0, sizeof(*dst));
	protocol = __gadget_network(skb);
	if (protocol == bpf_htons(__GADGET_ETH_P_IP)) {
		packet->transport = __gadget_ipv4_transport(skb, &packet->proto);
		if (!__gadget_load(skb, 2, &length, sizeof(length)) ||
		    !__gadget_load(skb, 12, &src->addr_raw.v4, 4) || !__gadget_load(skb, 16, &dst->addr_raw.v4, 4))
			return false;
		packet->end = bpf_ntohs(length);
		src->version = dst->version = 4;
	} else if (protocol == bpf_htons(__GADGET_ETH_P_IPV6)) {
		packet->transport = __gadget_ipv6_transport(skb, &packet->proto);
		if (!__gadget_load(skb, 4, &length, sizeof(length)) ||
		    !__gadget_load(skb, 8, src->addr_raw.v6, 16) || !__gadget_load(skb, 24, dst->addr_raw.v6, 16))
			return false;
		packet->end = length ? 40 + bpf_ntohs(length) : 0;
		src->version = dst->version = 6;
	} else {
		return false;
	}
	// Too long to be said in 16 bits: what the kernel hands around in one piece.
	if (packet->end == 0)
		packet->end = skb->len;
	if (packet->transport == 0 || !__gadget_load(skb, packet->transport, ports, sizeof(ports)))
		return false;
	if (packet->proto == __GADGET_IPPROTO_UDP) {
		packet->payload = packet->transport + 8;
	} else if (packet->proto == __GADGET_IPPROTO_TCP) {
		if (!__gadget_load(skb, packet->transport + 12, &words, sizeof(words)))
			return false;
		packet->payload = packet->transport + (words >> 4) * 4;
	} else {
		return false;
	}
	src->proto_raw = dst->proto_raw = packet->proto;
	src->port = bpf_ntohs(ports[0]);
	dst->port = bpf_ntohs(ports[1]);
	return packet->payload <= packet->end;
}

/** Reads bytes of a packet, counted from its network header; false where it has not that many. */
static __always_inline bool gadget_packet_load(const struct __sk_buff *skb, __u32 offset, void *to, __u32 size)
{
	return __gadget_load(skb, offset, to, size);
}

#endif

#endif
