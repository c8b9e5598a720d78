// SPDX-License-Identifier: GPL-2.0-only
//
// Captures packets, with the process and the container that they belong to.
//
// Classifiers on the host's end of each container's veth and on the host's own devices.

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define GADGET_TYPE_NETWORKING
#include <gadget/buffer.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/packetfilter.h>
#include <gadget/scratch.h>
#include <gadget/sockets-map.h>
#include <gadget/types.h>

#define MAX_SNAPLEN 16384
#define TC_ACT_UNSPEC (-1)

enum packet_type : __u32 {
	EGRESS = 1,
	INGRESS = 2,
};

struct packet {
	gadget_timestamp timestamp_raw;
	struct gadget_process proc;
	gadget_netns_id netns_id;
	__u32 ifindex;
	enum packet_type packet_type_raw;
	/* On the wire. */
	__u32 packet_size;
	/* The packet's first bytes follow the event. */
	__u32 payload_len;
};

struct capture {
	struct packet packet;
	__u8 payload[MAX_SNAPLEN];
};

const volatile __u16 snaplen = MAX_SNAPLEN;

GADGET_PARAM(snaplen);
GADGET_PF();

GADGET_SCRATCH(captures, struct capture);
GADGET_TRACER_MAP(packets, 1024 * 1024 * 2);
GADGET_TRACER(packets, packets, packet);

static __always_inline int capture(struct __sk_buff *skb, enum packet_type type)
{
	struct gadget_socket_value *owner;
	struct capture *capture;
	__u32 length;

	/* The filter reads what lies in one piece. */
	bpf_skb_pull_data(skb, 0);
	if (!gadget_pf_matches((void *)skb, (void *)(long)skb->data, (void *)(long)skb->data_end))
		return TC_ACT_UNSPEC;
	owner = gadget_socket_lookup_with_direction(skb, type == INGRESS);
	if (gadget_should_discard_data_by_skb(owner))
		return TC_ACT_UNSPEC;
	capture = captures_claim();
	if (!capture)
		return TC_ACT_UNSPEC;
	__builtin_memset(&capture->packet, 0, sizeof(capture->packet));
	capture->packet.timestamp_raw = bpf_ktime_get_boot_ns();
	capture->packet.netns_id = skb->cb[0];
	capture->packet.ifindex = skb->ifindex;
	capture->packet.packet_type_raw = type;
	capture->packet.packet_size = skb->len;
	/* Nobody is not root. */
	capture->packet.proc.creds.uid = capture->packet.proc.creds.gid = -1;
	gadget_process_populate_from_socket(owner, &capture->packet.proc);
	length = skb->len;
	if (length > snaplen)
		length = snaplen;
	if (length > MAX_SNAPLEN)
		length = MAX_SNAPLEN;
	if (length > 0) {
		length = ((length - 1) & (MAX_SNAPLEN - 1)) + 1;
		if (bpf_skb_load_bytes(skb, 0, capture->payload, length) == 0)
			capture->packet.payload_len = length;
	}
	gadget_output_buf(skb, &packets, capture, sizeof(capture->packet) + length);
	captures_release(capture);
	return TC_ACT_UNSPEC;
}

SEC("classifier/ingress/capture")
int capture_ingress(struct __sk_buff *skb)
{
	return capture(skb, INGRESS);
}

SEC("classifier/egress/capture")
int capture_egress(struct __sk_buff *skb)
{
	return capture(skb, EGRESS);
}

char LICENSE[] SEC("license") = "GPL";
