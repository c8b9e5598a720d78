// SPDX-License-Identifier: GPL-2.0-only
//
// Collects who talks to whom, for network policies.
//
// A socket filter in each network namespace; each peer is told once, however many packets go to it and come from it.

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define GADGET_TYPE_NETWORKING
#include <gadget/buffer.h>
#include <gadget/macros.h>
#include <gadget/packet.h>
#include <gadget/types.h>

#define PACKET_HOST 0
#define PACKET_OUTGOING 4
#define TCP_SYN 0x02
#define TCP_ACK 0x10

/* The server of a connection, as the namespace sees it: its own port, or a peer's address and port. */
struct connection {
	struct gadget_l4endpoint_t endpoint;
	gadget_netns_id netns_id;
	/* Whether the namespace asks, and is not asked. */
	__u8 egress;
	__u8 pad[3];
};

struct traffic {
	struct gadget_process proc;
	gadget_timestamp first_raw;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, struct connection);
	__type(value, struct traffic);
} packets SEC(".maps");

GADGET_MAPITER(network_connections, packets);

/* Peers that found no room in the map, in packets. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} packets_lost_samples SEC(".maps");

/* What a UDP packet answers to has been seen before: questions by their ends and namespace. */
struct flow {
	struct gadget_l4endpoint_t local;
	struct gadget_l4endpoint_t remote;
	__u32 netns;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct flow);
	__type(value, __u8);
} flows SEC(".maps");

/* Whether this end began: the first packet of a flow says so. */
static __always_inline bool begins(const struct gadget_l4endpoint_t *local, const struct gadget_l4endpoint_t *remote,
				   __u32 netns, bool leaves, bool *asks)
{
	struct flow flow;
	__u8 asked = leaves;

	__builtin_memset(&flow, 0, sizeof(flow));
	flow.local = *local;
	flow.remote = *remote;
	flow.netns = netns;
	*asks = asked;
	return bpf_map_update_elem(&flows, &flow, &asked, BPF_NOEXIST) == 0;
}

SEC("socket1")
int see_traffic(struct __sk_buff *skb)
{
	struct gadget_l4endpoint_t src, dst;
	struct gadget_l4endpoint_t *local, *remote;
	struct connection connection;
	struct gadget_packet packet;
	struct traffic traffic;
	bool leaves, asks;
	const __u32 zero = 0;
	__u64 *lost;

	if (skb->pkt_type != PACKET_HOST && skb->pkt_type != PACKET_OUTGOING)
		return 0;
	if (!gadget_packet_read(skb, &packet, &src, &dst))
		return 0;
	/* No policy is about what stays within. */
	if ((src.version == 4 && (src.addr_raw.v4 & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000)) ||
	    (src.version == 6 && src.addr_raw.v6[15] == 1 && src.addr_raw.v6[0] == 0 && src.addr_raw.v6[1] == 0 &&
	     src.addr_raw.v6[10] == 0 && src.addr_raw.v6[14] == 0))
		return 0;
	leaves = skb->pkt_type == PACKET_OUTGOING;
	local = leaves ? &src : &dst;
	remote = leaves ? &dst : &src;
	if (packet.proto == __GADGET_IPPROTO_TCP) {
		__u8 flags;

		/* The first packet of a connection. */
		if (!gadget_packet_load(skb, packet.transport + 13, &flags, sizeof(flags)) ||
		    (flags & (TCP_SYN | TCP_ACK)) != TCP_SYN)
			return 0;
		asks = leaves;
	} else if (!begins(local, remote, skb->cb[0], leaves, &asks)) {
		return 0;
	}
	__builtin_memset(&connection, 0, sizeof(connection));
	connection.endpoint = *remote;
	connection.endpoint.port = asks ? remote->port : local->port;
	connection.netns_id = skb->cb[0];
	connection.egress = asks;
	__builtin_memset(&traffic, 0, sizeof(traffic));
	traffic.first_raw = bpf_ktime_get_boot_ns();
	/* Nobody is not root. */
	traffic.proc.creds.uid = traffic.proc.creds.gid = -1;
	gadget_process_populate_from_socket(gadget_socket_lookup(skb), &traffic.proc);
	if (bpf_map_update_elem(&packets, &connection, &traffic, BPF_NOEXIST) == 0 || bpf_map_lookup_elem(&packets, &connection))
		return 0;
	lost = bpf_map_lookup_elem(&packets_lost_samples, &zero);
	if (lost)
		__sync_fetch_and_add(lost, 1);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
