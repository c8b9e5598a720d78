// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause
//
// Finds the process that a packet or a socket belongs to. User space keeps the map up to date. Kernel: 5.4.
//
// Include <vmlinux.h> or <linux/types.h> first, and define one of these before including this file:
//   GADGET_TYPE_NETWORKING  for programs of sections socket... and classifier/...: gadget_socket_lookup(skb)
//   GADGET_TYPE_TRACING     for all others (with vmlinux.h): gadget_socket_lookup(sk, netns)

#ifndef GADGET_SOCKETS_MAP_H
#define GADGET_SOCKETS_MAP_H

#if !defined(__VMLINUX_H__) && !defined(_LINUX_TYPES_H)
#error "Include <vmlinux.h> or <linux/types.h> before <gadget/sockets-map.h>."
#endif

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <gadget/types.h>

/** The older name of what gadget_socket_lookup() finds. */
#define sockets_value gadget_socket_value

/** How many sockets are remembered. */
#define GADGET_MAX_SOCKETS 16384

/** By what a socket is found. All bytes count, the padding too: start from zero. */
struct gadget_socket_key {
	__u32 netns;
	/** AF_INET or AF_INET6. */
	__u16 family;
	/** IPPROTO_TCP or IPPROTO_UDP. */
	__u8 proto;
	/** The local port, in host byte order. */
	__u16 port;
};

/** The sockets; user space puts a map of its own here, whose values may be shorter. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, GADGET_MAX_SOCKETS);
	__type(key, struct gadget_socket_key);
	__type(value, struct gadget_socket_value);
} gadget_sockets SEC(".maps");

/** By what sockets are told apart that share a port. All bytes count, the padding too: start from zero. */
struct gadget_socket_flow_key {
	struct gadget_socket_key socket;
	/** The remote port, in host byte order; 0, like the remote address, for a socket that takes packets from anyone. */
	__u16 rport;
	/** 1: who has sent such a packet, through a socket that takes packets from anyone or that several processes hold. */
	__u16 is_sent;
	/** In network byte order; of IPv4 the first alone. */
	__u32 laddr[4];
	__u32 raddr[4];
};

/** Asked only where gadget_sockets has no single answer. User space puts a map of its own here; elsewhere it is empty. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct gadget_socket_flow_key);
	__type(value, struct gadget_socket_value);
} gadget_socket_flows SEC(".maps");

// Not from <linux/...>, which can't be included together with vmlinux.h.
#define __GADGET_AF_INET 2
#define __GADGET_AF_INET6 10
#define __GADGET_IPPROTO_TCP 6
#define __GADGET_IPPROTO_UDP 17
#define __GADGET_ETH_P_IP 0x0800
#define __GADGET_ETH_P_IPV6 0x86dd
#define __GADGET_PACKET_HOST 0
#define __GADGET_TCP_SYN 2
#define __GADGET_TCP_LISTEN 10

// Whether the port says less than the addresses do. User space that doesn't know of it leaves no choice.
static __always_inline bool __gadget_socket_is_ambiguous(const struct gadget_socket_value *value)
{
	return value && bpf_core_field_exists(value->ambiguous) && value->ambiguous;
}

// The socket with both addresses; of a packet that is sent, else, whoever sent it. Of UDP, and where a connection begins, else
// the socket that is bound to the local address, else the one that is bound to any: without either, TCP's are in doubt.
static __always_inline struct gadget_socket_value *__gadget_socket_flow(struct gadget_socket_flow_key *flow, bool is_ingress,
									bool is_bound)
{
	struct gadget_socket_value *connected = bpf_map_lookup_elem(&gadget_socket_flows, flow);
	struct gadget_socket_value *value;

	if (connected && !__gadget_socket_is_ambiguous(connected))
		return connected;
	if (!is_ingress) {
		flow->is_sent = 1;
		value = bpf_map_lookup_elem(&gadget_socket_flows, flow);
		if (value)
			return value;
		flow->is_sent = 0;
	}
	if (connected || !is_bound)
		return connected;
	flow->rport = 0;
	__builtin_memset(flow->raddr, 0, sizeof(flow->raddr));
	value = bpf_map_lookup_elem(&gadget_socket_flows, flow);
	if (value && value->deletion_timestamp == 0)
		return value;
	__builtin_memset(flow->laddr, 0, sizeof(flow->laddr));
	connected = bpf_map_lookup_elem(&gadget_socket_flows, flow);
	// One that is gone gets nothing as long as there is another.
	return connected && (!value || connected->deletion_timestamp == 0) ? connected : value;
}

#ifdef GADGET_TYPE_NETWORKING
// What precedes TCP and UDP in IPv6 (include/net/ipv6.h), and how many of these the kernel follows.
#define __GADGET_IPV6_HOP 0
#define __GADGET_IPV6_ROUTING 43
#define __GADGET_IPV6_FRAGMENT 44
#define __GADGET_IPV6_AUTH 51
#define __GADGET_IPV6_DEST 60
#define __GADGET_IPV6_MAX_HEADERS 6

// Tags of VLANs (include/uapi/linux/if_ether.h), and how many in the packet itself are passed over.
#define __GADGET_ETH_P_8021Q 0x8100
#define __GADGET_ETH_P_8021AD 0x88a8
#define __GADGET_VLAN_MAX_TAGS 2

static __always_inline bool __gadget_is_vlan(__u16 protocol)
{
	return protocol == bpf_htons(__GADGET_ETH_P_8021Q) || protocol == bpf_htons(__GADGET_ETH_P_8021AD);
}

// What a packet is, in network byte order; before the first __gadget_load(). Of tags of VLANs the device takes out one at
// most, and puts it where it does not count here; behind two more nobody is looked for. Where the network header is behind
// them goes to cb[1]: what is read from there is the same to the verifier whatever it is, so that there are no more paths.
static __always_inline __u16 __gadget_network(const struct __sk_buff *skb)
{
	volatile __u32 *start = (volatile __u32 *)&skb->cb[1];
	__u16 type = skb->protocol;
	__u32 at = 12;

	*start = 0;
	if (!__gadget_is_vlan(type))
		return type;
#pragma unroll
	for (int i = 0; i <= __GADGET_VLAN_MAX_TAGS; i++) {
		__u16 next;

		// The kernel's own network header may be a tag or what is behind it.
		if (bpf_skb_load_bytes(skb, at, &next, sizeof(next)) || (i == 0 && next != type))
			return 0;
		type = next;
		at += 4;
		if (!__gadget_is_vlan(type))
			break;
	}
	*start = at - 2;
	return type;
}

// Where the network header is, from the first byte that the program sees: that of an Ethernet header, or of none.
static __always_inline __u32 __gadget_network_offset(const struct __sk_buff *skb)
{
	__u16 type;

	return bpf_skb_load_bytes(skb, 12, &type, sizeof(type)) == 0 && type == skb->protocol ? 14 : 0;
}

// Reads from the network header on. The first way doesn't care what is before it, but stops where the packet's first piece
// ends: data of TCP is mostly in others.
static __always_inline bool __gadget_load(const struct __sk_buff *skb, __u32 offset, void *to, __u32 size)
{
	__u32 start = *(const volatile __u32 *)&skb->cb[1];

	if (start == 0) {
		if (bpf_skb_load_bytes_relative(skb, offset, to, size, BPF_HDR_START_NET) == 0)
			return true;
		start = __gadget_network_offset(skb);
	}
	return bpf_skb_load_bytes(skb, start + offset, to, size) == 0;
}

// Where the transport header starts; 0 when there is none that has ports.
static __always_inline __u32 __gadget_ipv4_transport(const struct __sk_buff *skb, __u8 *proto)
{
	__u8 version_and_length;
	__u16 fragment;

	if (!__gadget_load(skb, 0, &version_and_length, sizeof(version_and_length)) ||
	    !__gadget_load(skb, 6, &fragment, sizeof(fragment)) || !__gadget_load(skb, 9, proto, sizeof(*proto)))
		return 0;
	// Only the first fragment of a packet has ports.
	if (fragment & bpf_htons(0x1fff))
		return 0;
	return (version_and_length & 15) * 4;
}

static __always_inline __u32 __gadget_ipv6_transport(const struct __sk_buff *skb, __u8 *proto)
{
	__u32 offset = 40;

	if (!__gadget_load(skb, 6, proto, sizeof(*proto)))
		return 0;
#pragma unroll
	for (int i = 0; i < __GADGET_IPV6_MAX_HEADERS; i++) {
		__u8 next_and_length[4];

		if (*proto == __GADGET_IPPROTO_TCP || *proto == __GADGET_IPPROTO_UDP)
			break;
		if (!__gadget_load(skb, offset, next_and_length, sizeof(next_and_length)))
			return 0;
		switch (*proto) {
		case __GADGET_IPV6_FRAGMENT:
			if (next_and_length[2] || next_and_length[3] & 0xf8)
				return 0;
			offset += 8;
			break;
		case __GADGET_IPV6_AUTH:
			offset += (next_and_length[1] + 2) * 4;
			break;
		case __GADGET_IPV6_HOP:
		case __GADGET_IPV6_ROUTING:
		case __GADGET_IPV6_DEST:
			offset += (next_and_length[1] + 1) * 8;
			break;
		default:
			return 0;
		}
		*proto = next_and_length[0];
	}
	return offset;
}

// The socket that the packet's addresses tell, where its port does not.
static __always_inline struct gadget_socket_value *__gadget_socket_of_packet(const struct __sk_buff *skb,
									     const struct gadget_socket_key *key,
									     __u32 transport, __u8 is_ingress)
{
	struct gadget_socket_flow_key flow;
	bool is_ipv4 = key->family == __GADGET_AF_INET;
	bool is_bound = true;
	__u32 size = is_ipv4 ? 4 : 16;
	__u32 source = is_ipv4 ? 12 : 8;

	__builtin_memset(&flow, 0, sizeof(flow));
	flow.socket = *key;
	if (!__gadget_load(skb, transport + (is_ingress ? 0 : 2), &flow.rport, sizeof(flow.rport)))
		return NULL;
	flow.rport = bpf_ntohs(flow.rport);
	if (is_ipv4) {
		if (!__gadget_load(skb, is_ingress ? source + size : source, flow.laddr, 4) ||
		    !__gadget_load(skb, is_ingress ? source : source + size, flow.raddr, 4))
			return NULL;
	} else if (!__gadget_load(skb, is_ingress ? source + size : source, flow.laddr, 16) ||
		   !__gadget_load(skb, is_ingress ? source : source + size, flow.raddr, 16)) {
		return NULL;
	}
	if (key->proto == __GADGET_IPPROTO_TCP) {
		__u8 flags;

		is_bound = __gadget_load(skb, transport + 13, &flags, sizeof(flags)) && flags & __GADGET_TCP_SYN;
	}
	return __gadget_socket_flow(&flow, is_ingress, is_bound);
}

/**
 * What is known about the socket of a packet, or NULL.
 *
 * @skb the program's context; its cb[0] has the network namespace, from the program that calls this one
 * @is_ingress whether the packet comes to the socket, and not from it
 * Four to about ten reads of the packet and one or two lookups. Kernel: 4.18.
 */
static __always_inline struct gadget_socket_value *
gadget_socket_lookup_with_direction(const struct __sk_buff *skb, __u8 is_ingress)
{
	struct gadget_socket_key key;
	struct gadget_socket_value *value;
	__u32 transport;
	__u16 protocol;

	__builtin_memset(&key, 0, sizeof(key));
	key.netns = skb->cb[0];
	protocol = __gadget_network(skb);
	if (protocol == bpf_htons(__GADGET_ETH_P_IP)) {
		key.family = __GADGET_AF_INET;
		transport = __gadget_ipv4_transport(skb, &key.proto);
	} else if (protocol == bpf_htons(__GADGET_ETH_P_IPV6)) {
		key.family = __GADGET_AF_INET6;
		transport = __gadget_ipv6_transport(skb, &key.proto);
	} else {
		return NULL;
	}
	if (transport == 0 || (key.proto != __GADGET_IPPROTO_TCP && key.proto != __GADGET_IPPROTO_UDP))
		return NULL;
	// TCP and UDP begin alike: the sender's port, the receiver's port.
	if (!__gadget_load(skb, transport + (is_ingress ? 2 : 0), &key.port, sizeof(key.port)))
		return NULL;
	key.port = bpf_ntohs(key.port);

	value = bpf_map_lookup_elem(&gadget_sockets, &key);
	if (__gadget_socket_is_ambiguous(value)) {
		struct gadget_socket_value *finer = __gadget_socket_of_packet(skb, &key, transport, is_ingress);

		return finer ? finer : value;
	}
	if (value || key.family != __GADGET_AF_INET)
		return value;
	// A socket for IPv6 may serve IPv4 as well.
	key.family = __GADGET_AF_INET6;
	value = bpf_map_lookup_elem(&gadget_sockets, &key);
	return value && value->ipv6only == 0 ? value : NULL;
}

/**
 * What is known about the socket of a packet, or NULL; the direction is the packet's own type.
 * Not for classifiers, where a packet that is only passed on counts as one for this host. Costs what the other one costs.
 */
static __always_inline struct gadget_socket_value *gadget_socket_lookup(const struct __sk_buff *skb)
{
	return gadget_socket_lookup_with_direction(skb, skb->pkt_type == __GADGET_PACKET_HOST);
}
#endif

#ifdef GADGET_TYPE_TRACING
// The socket that its own addresses tell, where its port does not.
static __always_inline struct gadget_socket_value *__gadget_socket_of_sock(const struct sock *sk,
									   const struct gadget_socket_key *key)
{
	struct gadget_socket_flow_key flow;

	__builtin_memset(&flow, 0, sizeof(flow));
	flow.socket = *key;
	flow.rport = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (key->family == __GADGET_AF_INET) {
		flow.laddr[0] = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
		flow.raddr[0] = BPF_CORE_READ(sk, __sk_common.skc_daddr);
	} else {
		BPF_CORE_READ_INTO(&flow.laddr, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&flow.raddr, sk, __sk_common.skc_v6_daddr);
		// Packets of IPv4, whatever the socket is for.
		if (flow.laddr[0] == 0 && flow.laddr[1] == 0 && flow.laddr[2] == bpf_htonl(0xffff)) {
			flow.socket.family = __GADGET_AF_INET;
			flow.laddr[0] = flow.laddr[3];
			flow.raddr[0] = flow.raddr[3];
			flow.laddr[2] = flow.laddr[3] = flow.raddr[2] = flow.raddr[3] = 0;
		}
	}
	return __gadget_socket_flow(&flow, true,
				    key->proto == __GADGET_IPPROTO_UDP ||
					    BPF_CORE_READ(sk, __sk_common.skc_state) == __GADGET_TCP_LISTEN);
}

/**
 * What is known about a socket, or NULL.
 *
 * @sk a socket in kernel memory
 * @netns the inode number of its network namespace
 * Three reads and a lookup. Kernel: 5.4.
 */
static __always_inline struct gadget_socket_value *gadget_socket_lookup(const struct sock *sk, __u32 netns)
{
	const struct inet_sock *inet = (const struct inet_sock *)sk;
	struct gadget_socket_value *value;
	struct gadget_socket_key key;

	__builtin_memset(&key, 0, sizeof(key));
	key.netns = netns;
	key.family = BPF_CORE_READ(sk, __sk_common.skc_family);
	// A bit field until 5.5.
	key.proto = BPF_CORE_READ_BITFIELD_PROBED(sk, sk_protocol);
	if (key.proto != __GADGET_IPPROTO_TCP && key.proto != __GADGET_IPPROTO_UDP)
		return NULL;
	key.port = bpf_ntohs(BPF_CORE_READ(inet, inet_sport));
	value = bpf_map_lookup_elem(&gadget_sockets, &key);
	if (__gadget_socket_is_ambiguous(value)) {
		struct gadget_socket_value *finer = __gadget_socket_of_sock(sk, &key);

		return finer ? finer : value;
	}
	return value;
}
#endif

/** Fills *p with the owner of a socket, as gadget_process_populate() does with the current task; NULL leaves it as it is. Nine reads. */
static __always_inline void gadget_process_populate_from_socket(const struct gadget_socket_value *skb_val,
								struct gadget_process *p)
{
	if (!skb_val)
		return;
	__builtin_memcpy(p->comm, skb_val->task, sizeof(p->comm));
	p->pid = skb_val->pid_tgid >> 32;
	p->tid = (__u32)skb_val->pid_tgid;
	p->mntns_id = skb_val->mntns;
	p->creds.uid = (__u32)skb_val->uid_gid;
	p->creds.gid = skb_val->uid_gid >> 32;
	__builtin_memcpy(p->parent.comm, skb_val->ptask, sizeof(p->parent.comm));
	p->parent.pid = skb_val->ppid;
	p->parent.tid = bpf_core_field_exists(skb_val->ptid) ? skb_val->ptid : 0;
}

#endif
