// SPDX-License-Identifier: GPL-2.0-only
//
// Shows the server names that TLS clients ask for (Server Name Indication), with the process that asks or is asked.
//
// A socket filter in each network namespace; it walks over the ClientHello (RFC 8446, section 4.1.2), which may come in several
// segments.

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
#include <gadget/scratch.h>
#include <gadget/types.h>

#define TLS_HANDSHAKE 22
#define TLS_CLIENT_HELLO 1
#define TLS_SERVER_NAME 0
#define TLS_HOST_NAME 0
/* Record header, handshake header, version and random. */
#define TLS_SESSION_ID 43
#define MAX_EXTENSIONS 64
#define MAX_NAME 256
#define MAX_HELLO 4096

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

/* The beginning of a stream, as far as it has come: as much as the name of a hello can be behind. */
struct hello {
	/* Of the next byte of the stream. */
	__u32 sequence;
	__u32 length;
	/* Twice the size: what is behind the first half is read, and not kept. */
	__u8 data[2 * MAX_HELLO + 16];
};

/* One direction of a connection, where it is seen. */
struct stream {
	struct gadget_l4endpoint_t src;
	struct gadget_l4endpoint_t dst;
	__u32 netns;
	__u32 pkt_type;
};

/* Hellos whose rest is still to come: those with key shares against quantum computers are longer than a segment. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 256);
	__type(key, struct stream);
	__type(value, struct hello);
} unfinished SEC(".maps");

GADGET_SCRATCH(hellos, struct hello);

enum found { MORE, NOTHING, NAME };

static __always_inline __u32 at8(const struct hello *hello, __u32 at)
{
	/* Or the compiler leaves out a bound that it knows and the verifier does not. */
	barrier_var(at);
	return hello->data[at & (2 * MAX_HELLO - 1)];
}

static __always_inline __u32 at16(const struct hello *hello, __u32 at)
{
	return at8(hello, at) << 8 | at8(hello, at + 1);
}

/* Whether a stream that begins so may be a hello. */
static __always_inline bool may_be_hello(const struct hello *hello)
{
	return at8(hello, 0) == TLS_HANDSHAKE && (hello->length < 2 || at8(hello, 1) == 3) &&
	       (hello->length < 6 || at8(hello, 5) == TLS_CLIENT_HELLO);
}

/* Where the host name is, and its length. */
static __always_inline enum found find_name(const struct hello *hello, __u32 *name, __u32 *length)
{
	__u32 end = hello->length;
	__u32 at = TLS_SESSION_ID;
	__u32 all;

	if (at + 1 > end)
		return MORE;
	at += 1 + at8(hello, at);
	/* Cipher suites. */
	if (at + 2 > end)
		return MORE;
	at += 2 + at16(hello, at);
	/* Compression methods. */
	if (at + 1 > end)
		return MORE;
	at += 1 + at8(hello, at);
	/* Length of all extensions; none where the record ends here. */
	if (at >= 5 + at16(hello, 3))
		return NOTHING;
	if (at + 2 > end)
		return MORE;
	all = at + 2 + at16(hello, at);
	at += 2;
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		if (at + 4 > all)
			return NOTHING;
		if (at + 4 > end)
			return MORE;
		if (at16(hello, at) == TLS_SERVER_NAME) {
			/* A list: its length, then kind, length and name of each entry. */
			if (at + 9 > all)
				return NOTHING;
			if (at + 9 > end)
				return MORE;
			*name = at + 9;
			*length = at16(hello, at + 7);
			if (at8(hello, at + 6) != TLS_HOST_NAME || *length == 0 || *name + *length > all)
				return NOTHING;
			return *name + *length > end ? MORE : NAME;
		}
		at += 4 + at16(hello, at + 2);
	}
	return NOTHING;
}

/* Appends what a packet carries; false where it is too much. */
static __always_inline bool append(const struct __sk_buff *skb, const struct gadget_packet *packet, struct hello *hello)
{
	__u32 length = packet->end - packet->payload;
	__u32 at = hello->length;

	if (length == 0 || at >= MAX_HELLO)
		return false;
	if (length > MAX_HELLO)
		length = MAX_HELLO;
	/* In a form that verifiers follow, which the compiler would shorten by what it knows. */
	barrier_var(length);
	barrier_var(at);
	length = ((length - 1) & (MAX_HELLO - 1)) + 1;
	at &= MAX_HELLO - 1;
	if (!gadget_packet_load(skb, packet->payload, &hello->data[at], length))
		return false;
	hello->length = at + length;
	hello->sequence += length;
	return true;
}

static __always_inline void tell(struct __sk_buff *skb, const struct stream *stream, const struct hello *hello, __u32 name,
				 __u32 length)
{
	volatile __u32 *where = (volatile __u32 *)&skb->cb[2];
	struct gadget_socket_value *owner;
	struct event *event;

	/* Read back, so that verifiers follow what comes once, not once for each place where a name may have been found. */
	where[0] = name;
	where[1] = length;
	name = where[0];
	length = where[1];
	owner = gadget_socket_lookup(skb);
	if (gadget_should_discard_data_by_skb(owner))
		return;
	event = gadget_reserve_buf(&events, sizeof(*event));
	if (!event)
		return;
	__builtin_memset(event, 0, sizeof(*event));
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	event->src = stream->src;
	event->dst = stream->dst;
	event->netns_id = stream->netns;
	event->pkt_type_raw = stream->pkt_type;
	/* Nobody is not root. */
	event->proc.creds.uid = event->proc.creds.gid = -1;
	gadget_process_populate_from_socket(owner, &event->proc);
	for (__u32 i = 0; i < MAX_NAME - 1; i++) {
		if (i >= length)
			break;
		event->name[i] = at8(hello, name + i);
	}
	gadget_submit_buf(skb, &events, event, sizeof(*event));
}

SEC("socket1")
int client_hello(struct __sk_buff *skb)
{
	struct gadget_packet packet;
	struct stream stream;
	struct hello *hello, *before;
	__u32 name = 0, length = 0;
	enum found found = NOTHING;
	__u32 sequence;

	__builtin_memset(&stream, 0, sizeof(stream));
	if (!gadget_packet_read(skb, &packet, &stream.src, &stream.dst) || packet.proto != __GADGET_IPPROTO_TCP ||
	    packet.payload >= packet.end || !gadget_packet_load(skb, packet.transport + 4, &sequence, sizeof(sequence)))
		return 0;
	sequence = bpf_ntohl(sequence);
	stream.netns = skb->cb[0];
	stream.pkt_type = skb->pkt_type;
	before = bpf_map_lookup_elem(&unfinished, &stream);
	if (before && before->sequence == sequence) {
		if (append(skb, &packet, before) && may_be_hello(before))
			found = find_name(before, &name, &length);
		if (found == NAME)
			tell(skb, &stream, before, name, length);
		if (found != MORE || before->length >= MAX_HELLO)
			bpf_map_delete_elem(&unfinished, &stream);
		return 0;
	}
	/* Most packets are told by their first byte. */
	if (!gadget_packet_load(skb, packet.payload, &length, 1) || (length & 255) != TLS_HANDSHAKE)
		return 0;
	hello = hellos_claim();
	if (!hello)
		return 0;
	hello->length = 0;
	hello->sequence = sequence;
	if (append(skb, &packet, hello) && may_be_hello(hello))
		found = find_name(hello, &name, &length);
	if (found == NAME)
		tell(skb, &stream, hello, name, length);
	else if (found == MORE && hello->length < MAX_HELLO)
		bpf_map_update_elem(&unfinished, &stream, hello, BPF_ANY);
	hellos_release(hello);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
