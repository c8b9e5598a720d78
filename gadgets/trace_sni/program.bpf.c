// SPDX-License-Identifier: GPL-2.0-only
//
// Shows the server names that TLS clients ask for (Server Name Indication), with the process that asks or is asked.
//
// A socket filter in each network namespace; it walks over the ClientHello (RFC 8446, section 4.1.2) in the packet.

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#define GADGET_MAX_EVENT_SIZE 1024
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define GADGET_TYPE_NETWORKING
#include <gadget/buffer.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/packet.h>
#include <gadget/types.h>

#define TLS_HANDSHAKE 22
#define TLS_CLIENT_HELLO 1
#define TLS_SERVER_NAME 0
#define TLS_HOST_NAME 0
/* Record header, handshake header, version and random. */
#define TLS_SESSION_ID 43
#define MAX_EXTENSIONS 64
#define MAX_NAME 256

enum pkt_type : __u8 {
	HOST,
	BROADCAST,
	MULTICAST,
	OTHERHOST,
	OUTGOING,
	LOOPBACK,
	USER,
	KERNEL,
};

struct event {
	gadget_timestamp timestamp_raw;
	struct gadget_l4endpoint_t src;
	struct gadget_l4endpoint_t dst;
	struct gadget_process proc;
	gadget_netns_id netns_id;
	enum pkt_type pkt_type_raw;
	char name[MAX_NAME];
};

GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(sni, events, event);

/* Reads a length of two bytes, in network byte order; false behind the end. */
static __always_inline bool read16(const struct __sk_buff *skb, __u32 at, __u32 end, __u32 *value)
{
	__u16 bytes;

	if (at + 2 > end || !gadget_packet_load(skb, at, &bytes, sizeof(bytes)))
		return false;
	*value = bpf_ntohs(bytes);
	return true;
}

static __always_inline bool read8(const struct __sk_buff *skb, __u32 at, __u32 end, __u32 *value)
{
	__u8 byte;

	if (at + 1 > end || !gadget_packet_load(skb, at, &byte, sizeof(byte)))
		return false;
	*value = byte;
	return true;
}

/* Where the host name is, and its length; 0 where there is none. */
static __always_inline __u32 find_name(const struct __sk_buff *skb, __u32 hello, __u32 end, __u32 *length)
{
	__u8 head[6];
	__u32 skip, at;

	if (hello + TLS_SESSION_ID > end || !gadget_packet_load(skb, hello, head, sizeof(head)))
		return 0;
	if (head[0] != TLS_HANDSHAKE || head[1] != 3 || head[5] != TLS_CLIENT_HELLO)
		return 0;
	at = hello + TLS_SESSION_ID;
	if (!read8(skb, at, end, &skip))
		return 0;
	at += 1 + skip;
	/* Cipher suites. */
	if (!read16(skb, at, end, &skip))
		return 0;
	at += 2 + skip;
	/* Compression methods. */
	if (!read8(skb, at, end, &skip))
		return 0;
	at += 1 + skip;
	/* Length of all extensions. */
	at += 2;
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		__u32 type, kind;

		if (!read16(skb, at, end, &type) || !read16(skb, at + 2, end, &skip))
			return 0;
		if (type == TLS_SERVER_NAME) {
			/* A list: its length, then kind, length and name of each entry. */
			if (!read8(skb, at + 6, end, &kind) || kind != TLS_HOST_NAME || !read16(skb, at + 7, end, length))
				return 0;
			return at + 9 + *length <= end ? at + 9 : 0;
		}
		at += 4 + skip;
	}
	return 0;
}

SEC("socket1")
int client_hello(struct __sk_buff *skb)
{
	struct gadget_l4endpoint_t src, dst;
	struct gadget_socket_value *owner;
	struct gadget_packet packet;
	struct event *event;
	__u32 length = 0, name;
	__u32 pkt_type = skb->pkt_type;
	__u32 netns = skb->cb[0];

	if (!gadget_packet_read(skb, &packet, &src, &dst) || packet.proto != __GADGET_IPPROTO_TCP)
		return 0;
	name = find_name(skb, packet.payload, packet.end, &length);
	if (name == 0 || length == 0)
		return 0;
	owner = gadget_socket_lookup(skb);
	if (gadget_should_discard_data_by_skb(owner))
		return 0;
	event = gadget_reserve_buf(&events, sizeof(*event));
	if (!event)
		return 0;
	__builtin_memset(event, 0, sizeof(*event));
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	event->src = src;
	event->dst = dst;
	event->netns_id = netns;
	event->pkt_type_raw = pkt_type;
	/* Nobody is not root. */
	event->proc.creds.uid = event->proc.creds.gid = -1;
	gadget_process_populate_from_socket(owner, &event->proc);
	if (length > MAX_NAME - 1)
		length = MAX_NAME - 1;
	length = ((length - 1) & (MAX_NAME - 1)) + 1;
	if (length < MAX_NAME)
		gadget_packet_load(skb, name, event->name, length);
	gadget_submit_buf(skb, &events, event, sizeof(*event));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
