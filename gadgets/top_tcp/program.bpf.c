// SPDX-License-Identifier: GPL-2.0-only
//
// Adds up what goes through TCP connections.

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include <gadget/endpoints.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/mntns.h>
#include <gadget/types.h>

#define MAX_ENTRIES 10240
#define MSG_PEEK 2

/** Only connections of IPv4 (4) or IPv6 (6); -1 is any. */
const volatile int target_family = -1;
GADGET_PARAM(target_family);

struct ip_key {
	gadget_mntns_id mntns_id;
	gadget_pid pid;
	gadget_tid tid;
	struct gadget_l4endpoint_t src;
	struct gadget_l4endpoint_t dst;
	gadget_comm comm[TASK_COMM_LEN];
};

struct traffic {
	gadget_bytes sent_raw;
	gadget_bytes received_raw;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ENTRIES);
	__type(key, struct ip_key);
	__type(value, struct traffic);
} ip_map SEC(".maps");

GADGET_MAPITER(tcp, ip_map);

// What found no room in the map, in calls.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} ip_map_lost_samples SEC(".maps");

static __always_inline int count(struct sock *sk, bool received, __s64 bytes)
{
	const struct traffic none = {};
	const __u32 zero = 0;
	struct traffic *traffic;
	struct ip_key key;
	__u64 pid_tgid, *lost;

	if (!sk || bytes <= 0 || gadget_sock_protocol(sk) != IPPROTO_TCP || gadget_should_discard_data_current())
		return 0;
	__builtin_memset(&key, 0, sizeof(key));
	if (!gadget_sock_endpoints(sk, &key.src, &key.dst))
		return 0;
	if (target_family != -1 && target_family != key.src.version)
		return 0;
	pid_tgid = bpf_get_current_pid_tgid();
	key.pid = pid_tgid >> 32;
	key.tid = (__u32)pid_tgid;
	key.mntns_id = gadget_get_current_mntns_id();
	bpf_get_current_comm(&key.comm, sizeof(key.comm));

	traffic = bpf_map_lookup_elem(&ip_map, &key);
	if (!traffic) {
		bpf_map_update_elem(&ip_map, &key, &none, BPF_NOEXIST);
		traffic = bpf_map_lookup_elem(&ip_map, &key);
	}
	if (traffic) {
		__sync_fetch_and_add(received ? &traffic->received_raw : &traffic->sent_raw, bytes);
	} else {
		lost = bpf_map_lookup_elem(&ip_map_lost_samples, &zero);
		if (lost)
			__sync_fetch_and_add(lost, 1);
	}
	return 0;
}

// Linux 6.3.
SEC("?raw_tp/sock_send_length")
int tcp_sent(struct bpf_raw_tracepoint_args *ctx)
{
	return count((void *)ctx->args[0], false, (int)ctx->args[1]);
}

SEC("?raw_tp/sock_recv_length")
int tcp_received(struct bpf_raw_tracepoint_args *ctx)
{
	// What is only looked at comes again.
	if (ctx->args[2] & MSG_PEEK)
		return 0;
	return count((void *)ctx->args[0], true, (int)ctx->args[1]);
}

SEC("?fexit/tcp_sendmsg")
int BPF_PROG(tcp_sent_fexit, struct sock *sk, struct msghdr *msg, __u64 size, int ret)
{
	return count(sk, false, ret);
}

SEC("?fentry/tcp_cleanup_rbuf")
int BPF_PROG(tcp_received_fentry, struct sock *sk, int copied)
{
	return count(sk, true, copied);
}

// What the caller wanted to send: nearly always what was sent.
SEC("?kprobe/tcp_sendmsg")
int BPF_KPROBE(tcp_sent_kprobe, struct sock *sk, struct msghdr *msg, __u64 size)
{
	return count(sk, false, size);
}

SEC("?kprobe/tcp_cleanup_rbuf")
int BPF_KPROBE(tcp_received_kprobe, struct sock *sk, int copied)
{
	return count(sk, true, copied);
}

char LICENSE[] SEC("license") = "GPL";
