// SPDX-License-Identifier: GPL-2.0-only
//
// Shows DNS queries and answers, with the process that asks or answers.
//
// A socket filter in each network namespace. The message goes to user space as it is: names are read there.

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define GADGET_TYPE_NETWORKING
#include <gadget/buffer.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/packet.h>
#include <gadget/scratch.h>
#include <gadget/types.h>

#define DNS_HEADER 12
#define DNS_RESPONSE 0x8000
#define MAX_MESSAGE 4096

/* skb->pkt_type, as linux/if_packet.h numbers it. */
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
	gadget_duration latency_ns_raw;
	struct gadget_l4endpoint_t src;
	struct gadget_l4endpoint_t dst;
	struct gadget_l3endpoint_t nameserver;
	struct gadget_process proc;
	gadget_netns_id netns_id;
	enum pkt_type pkt_type_raw;
	/* The message follows the event. */
	__u16 dns_off;
	__u32 data_len;
};

struct message {
	struct event event;
	__u8 data[MAX_MESSAGE];
};

/* One question under way, on the side that asks or on the side that answers. */
struct question {
	struct gadget_l4endpoint_t client;
	struct gadget_l4endpoint_t server;
	__u32 netns;
	__u16 id;
	__u8 asks;
	__u8 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct question);
	__type(value, __u64);
} questions SEC(".maps");

/* Another port than 53 and 5353. */
const volatile __u16 port = 0;

GADGET_PARAM(port);

GADGET_SCRATCH(messages, struct message);
GADGET_TRACER_MAP(events, 1024 * 512);
GADGET_TRACER(dns, events, event);

static __always_inline bool is_dns_port(__u16 number)
{
	return number == 53 || number == 5353 || (port != 0 && number == port);
}

/* Nanoseconds from a question to its answer; 0 for questions, and where the question was not seen. */
static __always_inline __u64 latency(const struct event *event, __u16 id, bool is_response)
{
	bool leaves = event->pkt_type_raw == OUTGOING;
	struct question question;
	__u64 *asked;
	__u64 time;

	__builtin_memset(&question, 0, sizeof(question));
	question.client = is_response ? event->dst : event->src;
	question.server = is_response ? event->src : event->dst;
	question.netns = event->netns_id;
	question.id = id;
	question.asks = leaves != is_response;
	if (!is_response) {
		bpf_map_update_elem(&questions, &question, &event->timestamp_raw, BPF_ANY);
		return 0;
	}
	asked = bpf_map_lookup_elem(&questions, &question);
	if (!asked)
		return 0;
	time = event->timestamp_raw - *asked;
	bpf_map_delete_elem(&questions, &question);
	return time;
}

SEC("socket1")
int dns_message(struct __sk_buff *skb)
{
	struct gadget_l4endpoint_t src, dst;
	struct gadget_socket_value *owner;
	struct gadget_packet packet;
	struct message *message;
	__u16 head[2];
	__u32 length;

	if (!gadget_packet_read(skb, &packet, &src, &dst) || !(is_dns_port(src.port) || is_dns_port(dst.port)))
		return 0;
	/* Over TCP the length goes before the message. */
	if (packet.proto == __GADGET_IPPROTO_TCP)
		packet.payload += 2;
	if (packet.payload + DNS_HEADER > packet.end || !gadget_packet_load(skb, packet.payload, head, sizeof(head)))
		return 0;
	owner = gadget_socket_lookup(skb);
	if (gadget_should_discard_data_by_skb(owner))
		return 0;
	message = messages_claim();
	if (!message)
		return 0;
	__builtin_memset(&message->event, 0, sizeof(message->event));
	message->event.timestamp_raw = bpf_ktime_get_boot_ns();
	message->event.src = src;
	message->event.dst = dst;
	message->event.netns_id = skb->cb[0];
	message->event.pkt_type_raw = skb->pkt_type;
	/* Nobody is not root. */
	message->event.proc.creds.uid = message->event.proc.creds.gid = -1;
	gadget_process_populate_from_socket(owner, &message->event.proc);
	message->event.latency_ns_raw = latency(&message->event, head[0], head[1] & bpf_htons(DNS_RESPONSE));
	if (head[1] & bpf_htons(DNS_RESPONSE)) {
		message->event.nameserver.addr_raw = src.addr_raw;
		message->event.nameserver.version = src.version;
	} else {
		message->event.nameserver.addr_raw = dst.addr_raw;
		message->event.nameserver.version = dst.version;
	}
	length = packet.end - packet.payload;
	if (length > MAX_MESSAGE)
		length = MAX_MESSAGE;
	/* In a form that the verifier follows. */
	length = ((length - 1) & (MAX_MESSAGE - 1)) + 1;
	if (gadget_packet_load(skb, packet.payload, message->data, length)) {
		message->event.data_len = length;
		gadget_output_buf(skb, &events, message, sizeof(message->event) + length);
	}
	messages_release(message);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
