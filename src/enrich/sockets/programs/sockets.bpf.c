// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Keeps gadget_sockets: which process each TCP and UDP socket of every network namespace belongs to. Whoever acts on a
// socket in process context (binds it, listens, sends, receives) owns it from then on; packets that the kernel sends by
// itself change nothing.

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_endian.h>

#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM_TYPE 1
#define SOCK_DGRAM_TYPE 2
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define E2BIG 7
#define ENOMEM 12

/* The layout of struct gadget_socket_value in use; what follows optional_fields_start is where user space says. */
struct owner {
	__u64 mntns;
	__u64 pid_tgid;
	__u64 uid_gid;
	char task[16];
	char ptask[16];
	__u64 sock;
	__u64 deletion_timestamp;
	__u32 ppid;
	__u32 ptid;
	char ipv6only;
	/* Several processes have sockets that this key cannot tell apart. */
	char ambiguous;
	__u16 pad;
	/* How many sockets have this key. */
	__u32 sockets;
};

struct socket_key {
	__u32 netns;
	__u16 family;
	__u8 proto;
	__u8 pad;
	__u16 port;
	__u16 pad2;
};

/* Finer: by addresses too. No remote port: a socket that is bound and takes packets from anyone. */
struct flow_key {
	struct socket_key key;
	__u16 rport;
	__u16 pad;
	__u32 laddr[4];
	__u32 raddr[4];
};

/* Keys that a socket is counted in. */
#define CLAIM_OWN 1   /* its own family */
#define CLAIM_IPV4 2  /* IPv4, for a socket of IPv6 that takes it */
#define CLAIM_BOUND 4 /* its local address */
#define CLAIM_BOUND_IPV4 8

/* What is known of one socket; lives and dies with it. */
struct socket_state {
	struct owner owner;
	/* The socket it was made for: another one where a connection got it from its listener. */
	__u64 self;
	__u64 listener;
	struct socket_key key;
	__u32 laddr[4];
	__u8 claims;
	/* How often it went from one process to another; saturates. */
	__u8 handovers;
	/* The owner is known, not only that of the listener whose processes share it. */
	__u8 confirmed;
	__u8 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct socket_state);
} states SEC(".maps");

/* Made by user space, with the value's size in use. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct socket_key);
	__type(value, struct owner);
} gadget_sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct flow_key);
	__type(value, struct owner);
} gadget_socket_flows SEC(".maps");

/* What new entries begin as; never written to. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct owner);
} nothing SEC(".maps");

/* Listeners whose connections are served by other processes than the one that made them listen. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u8);
} shared_listeners SEC(".maps");

/* How many sockets the maps had no room for. */
__u64 not_fitting;
/* How many keys are ambiguous, or were. */
__u64 ambiguities;

/* The network namespace whose sockets are looked at, and how long what is gone is kept. */
const volatile __u64 keep_ns = 5000000000ULL;
const volatile __u32 cwd_at;
const volatile __u32 cwd_size;
const volatile __u32 exepath_at;
const volatile __u32 exepath_size;

/* Whether a soft interrupt is being served on this CPU: then the current task has nothing to do with what happens. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} softirq SEC(".maps");

static __always_inline void set_softirq(__u32 value)
{
	__u32 zero = 0;
	__u32 *serving = bpf_map_lookup_elem(&softirq, &zero);

	if (serving)
		*serving = value;
}

SEC("tp_btf/softirq_entry")
int softirq_begins(void *ctx)
{
	set_softirq(1);
	return 0;
}

SEC("tp_btf/softirq_exit")
int softirq_ends(void *ctx)
{
	set_softirq(0);
	return 0;
}

/* Whether what runs now is what the current task asked for. */
static __always_inline bool in_process(void)
{
	__u32 zero = 0;
	__u32 *serving = bpf_map_lookup_elem(&softirq, &zero);

	if (!serving || *serving)
		return false;
	return BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), pid) != 0;
}

static __always_inline void fill_owner(struct owner *o, struct task_struct *task)
{
	struct task_struct *parent = BPF_CORE_READ(task, real_parent);
	const struct cred *cred = BPF_CORE_READ(task, real_cred);

	o->mntns = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
	o->pid_tgid = (__u64)BPF_CORE_READ(task, tgid) << 32 | (__u32)BPF_CORE_READ(task, pid);
	o->uid_gid = (__u64)BPF_CORE_READ(cred, gid.val) << 32 | BPF_CORE_READ(cred, uid.val);
	bpf_probe_read_kernel_str(o->task, sizeof(o->task), task->comm);
	o->ppid = BPF_CORE_READ(parent, tgid);
	o->ptid = BPF_CORE_READ(parent, pid);
	bpf_probe_read_kernel_str(o->ptask, sizeof(o->ptask), parent->comm);
}

#include "sockets-paths.h"

static __noinline void publish(struct owner *to, const struct owner *from, __u64 sock)
{
	to->mntns = from->mntns;
	to->uid_gid = from->uid_gid;
	__builtin_memcpy(to->task, from->task, sizeof(to->task));
	__builtin_memcpy(to->ptask, from->ptask, sizeof(to->ptask));
	to->ppid = from->ppid;
	to->ptid = from->ptid;
	to->ipv6only = from->ipv6only;
	to->pid_tgid = from->pid_tgid;
	to->sock = sock;
	to->deletion_timestamp = 0;
	to->ambiguous = 0;
	fill_paths(to, from->pid_tgid);
}

/* Keeps what the owners have in common. */
static __noinline void make_ambiguous(struct owner *to, const struct owner *other)
{
	const char text[16] = "ambiguous";

	if (to->mntns != other->mntns)
		to->mntns = 0;
	to->deletion_timestamp = 0;
	if (to->ambiguous)
		return;
	to->ambiguous = 1;
	to->pid_tgid = 0;
	to->uid_gid = ~0ULL;
	to->ppid = 0;
	to->ptid = 0;
	__builtin_memcpy(to->task, text, sizeof(to->task));
	__builtin_memset(to->ptask, 0, sizeof(to->ptask));
	clear_paths(to);
	__sync_fetch_and_add(&ambiguities, 1);
}

/* The entry of a key, made if it isn't there; NULL where there is no room. */
static __noinline struct owner *entry_of(void *map, void *key)
{
	struct owner *found = bpf_map_lookup_elem(map, key);
	__u32 zero = 0;
	struct owner *empty;
	long error;

	if (found)
		return found;
	empty = bpf_map_lookup_elem(&nothing, &zero);
	if (!empty)
		return NULL;
	error = bpf_map_update_elem(map, key, empty, BPF_NOEXIST);
	if (error == -E2BIG || error == -ENOMEM) {
		__sync_fetch_and_add(&not_fitting, 1);
		return NULL;
	}
	return bpf_map_lookup_elem(map, key);
}

/* Counts a socket in a key, or tells the key that the socket's owner is another one now. */
static __noinline void claim(void *map, void *key, const struct socket_state *state, bool isNew)
{
	struct owner *found = entry_of(map, key);

	if (!found)
		return;
	if (found->sockets == 0)
		isNew = true;
	if (isNew)
		__sync_fetch_and_add(&found->sockets, 1);
	if (found->deletion_timestamp || found->sock == 0) {
		publish(found, &state->owner, state->self);
		return;
	}
	if (found->ambiguous) {
		if (found->sockets > 1 || state->handovers > 1)
			make_ambiguous(found, &state->owner);
		else
			publish(found, &state->owner, state->self);
		return;
	}
	if (found->pid_tgid >> 32 == state->owner.pid_tgid >> 32 && state->handovers <= 1) {
		/* The same process; its name may be another one since an exec. */
		if (found->sock == state->self)
			publish(found, &state->owner, state->self);
		return;
	}
	if (found->sock == state->self && found->sockets <= 1 && state->handovers <= 1)
		publish(found, &state->owner, state->self);
	else
		make_ambiguous(found, &state->owner);
}

static __noinline void unclaim(void *map, void *key)
{
	struct owner *found = bpf_map_lookup_elem(map, key);

	if (!found || found->sockets == 0)
		return;
	__sync_fetch_and_add(&found->sockets, -1);
	if (found->sockets == 0)
		found->deletion_timestamp = bpf_ktime_get_ns();
}

static __always_inline bool is_any(const __u32 *address)
{
	return (address[0] | address[1] | address[2] | address[3]) == 0;
}

static __always_inline bool is_mapped(const __u32 *address)
{
	return address[0] == 0 && address[1] == 0 && address[2] == bpf_htonl(0xffff);
}

/* Where the socket is: false for one that is none of TCP's and UDP's, or has no port yet. */
static __always_inline bool locate(struct sock *sk, struct socket_state *state)
{
	struct socket_key *key = &state->key;

	key->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (key->family != AF_INET && key->family != AF_INET6)
		return false;
	key->proto = BPF_CORE_READ_BITFIELD_PROBED(sk, sk_protocol);
	key->port = BPF_CORE_READ(sk, __sk_common.skc_num);
	if (key->port == 0)
		return false;
	key->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	state->owner.ipv6only = 0;
	__builtin_memset(state->laddr, 0, sizeof(state->laddr));
	if (key->family == AF_INET) {
		state->laddr[0] = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
	} else {
		state->owner.ipv6only = BPF_CORE_READ_BITFIELD_PROBED(sk, __sk_common.skc_ipv6only);
		BPF_CORE_READ_INTO(&state->laddr, sk, __sk_common.skc_v6_rcv_saddr);
	}
	return true;
}

static __always_inline bool is_wanted(struct sock *sk)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	__u16 type = BPF_CORE_READ_BITFIELD_PROBED(sk, sk_type);
	__u16 proto = BPF_CORE_READ_BITFIELD_PROBED(sk, sk_protocol);

	if (family != AF_INET && family != AF_INET6)
		return false;
	if (type == SOCK_STREAM_TYPE && proto == IPPROTO_TCP)
		return true;
	/* Tunnels have UDP sockets of the kernel's own: what they send is nobody's. */
	return type == SOCK_DGRAM_TYPE && proto == IPPROTO_UDP && !BPF_CORE_READ_BITFIELD_PROBED(sk, sk_kern_sock);
}

static __always_inline void bound_key(const struct socket_state *state, struct flow_key *flow)
{
	__builtin_memset(flow, 0, sizeof(*flow));
	flow->key = state->key;
	if (state->key.family == AF_INET6 && is_mapped(state->laddr)) {
		flow->key.family = AF_INET;
		flow->laddr[0] = state->laddr[3];
	} else {
		__builtin_memcpy(flow->laddr, state->laddr, sizeof(flow->laddr));
	}
}

/* Counts the socket in the keys that packets to it and from it have. */
static __noinline void claim_keys(struct socket_state *state, bool isBound)
{
	struct flow_key flow;
	struct socket_key key = state->key;
	bool takesIpv4 = key.family == AF_INET6 &&
			 (is_mapped(state->laddr) || (is_any(state->laddr) && !state->owner.ipv6only));

	claim(&gadget_sockets, &key, state, !(state->claims & CLAIM_OWN));
	state->claims |= CLAIM_OWN;
	if (takesIpv4) {
		key.family = AF_INET;
		claim(&gadget_sockets, &key, state, !(state->claims & CLAIM_IPV4));
		state->claims |= CLAIM_IPV4;
	}
	if (!isBound && !(state->claims & CLAIM_BOUND))
		return;
	bound_key(state, &flow);
	claim(&gadget_socket_flows, &flow, state, !(state->claims & CLAIM_BOUND));
	state->claims |= CLAIM_BOUND;
	if (takesIpv4 && is_any(state->laddr)) {
		flow.key.family = AF_INET;
		claim(&gadget_socket_flows, &flow, state, !(state->claims & CLAIM_BOUND_IPV4));
		state->claims |= CLAIM_BOUND_IPV4;
	}
}

static __noinline void unclaim_keys(struct socket_state *state)
{
	struct socket_key key = state->key;
	struct flow_key flow;

	if (state->claims & CLAIM_OWN)
		unclaim(&gadget_sockets, &key);
	if (state->claims & CLAIM_IPV4) {
		key.family = AF_INET;
		unclaim(&gadget_sockets, &key);
	}
	if (state->claims & CLAIM_BOUND) {
		bound_key(state, &flow);
		unclaim(&gadget_socket_flows, &flow);
	}
	if (state->claims & CLAIM_BOUND_IPV4) {
		flow.key.family = AF_INET;
		unclaim(&gadget_socket_flows, &flow);
	}
	state->claims = 0;
}

/* A state that its listener gave to a new connection: the connection is not counted yet, and its owner a guess. */
static __always_inline void settle(struct socket_state *state, __u64 self)
{
	if (state->self == self)
		return;
	if (state->self) {
		state->listener = state->self;
		state->confirmed = bpf_map_lookup_elem(&shared_listeners, &state->listener) == NULL;
	}
	state->self = self;
	state->claims = 0;
	state->handovers = 0;
}

/* Whether the task acts on this socket for the first time; it owns it then. */
static __always_inline bool take(struct socket_state *state, struct task_struct *task)
{
	__u64 pid_tgid = (__u64)BPF_CORE_READ(task, tgid) << 32 | (__u32)BPF_CORE_READ(task, pid);
	char comm[16] = {};
	__u64 had = state->owner.pid_tgid;

	state->confirmed = 1;
	if (had >> 32 == pid_tgid >> 32) {
		if (had != pid_tgid)
			return false;
		bpf_probe_read_kernel_str(comm, sizeof(comm), task->comm);
		if (__builtin_memcmp(comm, state->owner.task, 8) == 0 &&
		    __builtin_memcmp(comm + 8, state->owner.task + 8, 8) == 0)
			return false;
		fill_owner(&state->owner, task);
		return true;
	}
	fill_owner(&state->owner, task);
	if (had == 0)
		return true;
	if (state->listener) {
		/* From the listener's process to the one that serves the connection. */
		__u8 one = 1;
		__u64 listener = state->listener;

		bpf_map_update_elem(&shared_listeners, &listener, &one, BPF_ANY);
		state->listener = 0;
	} else if (state->handovers < 255) {
		state->handovers++;
	}
	return true;
}

/* The packet's addresses, read from its network header. */
struct ends {
	__u16 family;
	__u16 sport;
	__u16 dport;
	__u32 saddr[4];
	__u32 daddr[4];
};

/* After everything a socket does: who it belongs to, and what is known by the packet that it sends. */
static __always_inline void sent(struct sock *sk, struct socket_state *state, const struct ends *ends, bool isProcess)
{
	struct socket_key key;
	struct flow_key flow;
	struct owner *found;
	bool changed = false;

	settle(state, (__u64)sk);
	if (isProcess)
		changed = take(state, (void *)bpf_get_current_task());
	if (state->owner.pid_tgid == 0)
		return;
	if (changed || !(state->claims & CLAIM_OWN)) {
		if (!(state->claims & CLAIM_OWN) && !locate(sk, state))
			return;
		claim_keys(state, false);
	}
	if (!ends || ends->sport != state->key.port)
		return;
	key = state->key;
	key.family = ends->family;
	found = bpf_map_lookup_elem(&gadget_sockets, &key);
	if (!found && key.family != state->key.family) {
		key.family = state->key.family;
		found = bpf_map_lookup_elem(&gadget_sockets, &key);
	}
	if (!found || (found->ambiguous && found->sockets <= 1 && state->handovers <= 1) || found->deletion_timestamp) {
		/* Swept away while it was still in use, or the only one that is left. */
		claim_keys(state, false);
		return;
	}
	if (!found->ambiguous || !state->confirmed)
		return;
	__builtin_memset(&flow, 0, sizeof(flow));
	flow.key = state->key;
	flow.key.family = ends->family;
	flow.rport = ends->dport;
	__builtin_memcpy(flow.laddr, ends->saddr, sizeof(flow.laddr));
	__builtin_memcpy(flow.raddr, ends->daddr, sizeof(flow.raddr));
	found = entry_of(&gadget_socket_flows, &flow);
	if (!found)
		return;
	if (found->pid_tgid != state->owner.pid_tgid || found->sock != state->self)
		publish(found, &state->owner, state->self);
	/* The sweep takes it away when nothing has been sent for some time. */
	found->deletion_timestamp = bpf_ktime_get_ns();
}

static __always_inline bool ipv4_ends(const __u8 *header, const __u16 *ports, struct ends *ends)
{
	ends->family = AF_INET;
	__builtin_memcpy(&ends->saddr[0], header + 12, 4);
	__builtin_memcpy(&ends->daddr[0], header + 16, 4);
	ends->sport = bpf_ntohs(ports[0]);
	ends->dport = bpf_ntohs(ports[1]);
	return true;
}

SEC("cgroup_skb/egress")
int socket_sends(struct __sk_buff *skb)
{
	struct bpf_sock *bpf_sk = skb->sk;
	/* The context is the kernel's own packet: from there the socket is an address, not only what programs may see of it. */
	struct sock *sk = BPF_CORE_READ((struct sk_buff *)skb, sk);
	struct socket_state *state;
	struct ends ends = {};
	__u8 header[40];
	__u16 ports[2];
	bool isProcess;

	if (!bpf_sk || !is_wanted(sk))
		return 1;
	isProcess = in_process();
	state = bpf_sk_storage_get(&states, bpf_sk, 0, isProcess ? BPF_SK_STORAGE_GET_F_CREATE : 0);
	if (!state)
		return 1;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, 0, header, 20) || bpf_skb_load_bytes(skb, (header[0] & 15) * 4, ports, 4))
			return 1;
		ipv4_ends(header, ports, &ends);
	} else {
		if (bpf_skb_load_bytes(skb, 0, header, 40) || bpf_skb_load_bytes(skb, 40, ports, 4))
			return 1;
		ends.family = AF_INET6;
		__builtin_memcpy(ends.saddr, header + 8, 16);
		__builtin_memcpy(ends.daddr, header + 24, 16);
		ends.sport = bpf_ntohs(ports[0]);
		ends.dport = bpf_ntohs(ports[1]);
	}
	sent(sk, state, &ends, isProcess);
	return 1;
}

/* The same where there is no cgroup hierarchy to attach to. */
SEC("?tp_btf/net_dev_queue")
int BPF_PROG(packet_queued, struct sk_buff *skb)
{
	struct sock *sk = skb->sk;
	struct socket_state *state;
	struct ends ends = {};
	__u8 header[40];
	__u16 ports[2];
	unsigned char *at;
	bool isProcess;

	if (!sk || !is_wanted(sk) || BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_TIME_WAIT ||
	    BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_NEW_SYN_RECV)
		return 0;
	isProcess = in_process();
	state = bpf_sk_storage_get(&states, sk, 0, isProcess ? BPF_SK_STORAGE_GET_F_CREATE : 0);
	if (!state)
		return 0;
	at = BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, network_header);
	if (BPF_CORE_READ(skb, protocol) == bpf_htons(ETH_P_IP)) {
		if (bpf_probe_read_kernel(header, 20, at) || bpf_probe_read_kernel(ports, 4, at + (header[0] & 15) * 4))
			return 0;
		ipv4_ends(header, ports, &ends);
	} else {
		if (bpf_probe_read_kernel(header, 40, at) || bpf_probe_read_kernel(ports, 4, at + 40))
			return 0;
		ends.family = AF_INET6;
		__builtin_memcpy(ends.saddr, header + 8, 16);
		__builtin_memcpy(ends.daddr, header + 24, 16);
		ends.sport = bpf_ntohs(ports[0]);
		ends.dport = bpf_ntohs(ports[1]);
	}
	sent(sk, state, &ends, isProcess);
	return 0;
}

static __always_inline void acted(struct sock *sk, struct socket_state *state, bool isBound)
{
	bool changed;

	settle(state, (__u64)sk);
	changed = take(state, (void *)bpf_get_current_task());
	if (isBound && (state->claims & CLAIM_BOUND))
		isBound = false;
	if (!changed && !isBound && (state->claims & CLAIM_OWN))
		return;
	if ((state->claims & CLAIM_OWN) || locate(sk, state))
		claim_keys(state, isBound);
}

static __always_inline int bound(struct bpf_sock *ctx)
{
	struct sock *sk = (struct sock *)ctx;
	struct socket_state *state;

	if (!is_wanted(sk))
		return 1;
	state = bpf_sk_storage_get(&states, ctx, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (state)
		acted(sk, state, true);
	return 1;
}

SEC("cgroup/post_bind4")
int socket_bound4(struct bpf_sock *ctx)
{
	return bound(ctx);
}

SEC("cgroup/post_bind6")
int socket_bound6(struct bpf_sock *ctx)
{
	return bound(ctx);
}

/* Only of UDP: a connection lives on after its last descriptor is closed. */
SEC("cgroup/sock_release")
int socket_released(struct bpf_sock *ctx)
{
	struct socket_state *state;

	if (ctx->protocol != IPPROTO_UDP)
		return 1;
	state = bpf_sk_storage_get(&states, ctx, 0, 0);
	if (state && state->self == (__u64)ctx)
		unclaim_keys(state);
	return 1;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state_changes, struct sock *sk, int before, int after)
{
	struct socket_state *state;

	if (!is_wanted(sk))
		return 0;
	if (after == TCP_LISTEN && in_process()) {
		state = bpf_sk_storage_get(&states, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (state)
			acted(sk, state, true);
	} else if (after == TCP_ESTABLISHED && before == TCP_SYN_RECV) {
		state = bpf_sk_storage_get(&states, sk, 0, 0);
		if (!state || state->owner.pid_tgid == 0)
			return 0;
		settle(state, (__u64)sk);
		if (!(state->claims & CLAIM_OWN) && locate(sk, state))
			claim_keys(state, false);
	}
	return 0;
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(connection_destroyed, struct sock *sk)
{
	struct socket_state *state = bpf_sk_storage_get(&states, sk, 0, 0);
	__u64 self = (__u64)sk;

	if (state && state->self == self)
		unclaim_keys(state);
	bpf_map_delete_elem(&shared_listeners, &self);
	return 0;
}

/* Whoever receives acts too (Linux 6.3): a process that has got a socket from another one. */
SEC("?tp_btf/sock_recv_length")
int BPF_PROG(socket_receives, struct sock *sk, int length, int flags)
{
	struct socket_state *state;

	if (!is_wanted(sk) || length < 0)
		return 0;
	state = bpf_sk_storage_get(&states, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (state)
		acted(sk, state, false);
	return 0;
}

/* Sockets that were there before, by the descriptors of all processes. */
SEC("iter/task_file")
int find_sockets(struct bpf_iter__task_file *ctx)
{
	struct file *file = ctx->file;
	struct task_struct *task = ctx->task;
	struct socket_state *state;
	struct socket *socket;
	struct sock *sk;
	__u32 tgid;

	if (!file || !task)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk || !is_wanted(sk))
		return 0;
	state = bpf_sk_storage_get(&states, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state)
		return 0;
	tgid = BPF_CORE_READ(task, tgid);
	if (state->owner.pid_tgid) {
		__u32 had = state->owner.pid_tgid >> 32;

		/* Acted on since the programs were attached, or held by several: init hands sockets to services. */
		if (state->confirmed || had == tgid || tgid == 1)
			return 0;
		if (had != 1 && state->handovers < 2)
			state->handovers = 2;
	}
	settle(state, (__u64)sk);
	fill_owner(&state->owner, task->group_leader);
	if ((state->claims & CLAIM_OWN) || locate(sk, state))
		claim_keys(state, BPF_CORE_READ(sk, __sk_common.skc_daddr) == 0 &&
					  BPF_CORE_READ(sk, __sk_common.skc_dport) == 0);
	return 0;
}

static __always_inline bool is_old(const struct owner *owner)
{
	__u64 deleted = owner->deletion_timestamp;

	return deleted != 0 && bpf_ktime_get_ns() - deleted > keep_ns;
}

SEC("iter/bpf_map_elem")
int sweep_sockets(struct bpf_iter__bpf_map_elem *ctx)
{
	struct socket_key *found = ctx->key;
	struct owner *owner = ctx->value;
	struct socket_key key;

	if (!owner || !found || !is_old(owner))
		return 0;
	__builtin_memcpy(&key, found, sizeof(key));
	bpf_map_delete_elem(&gadget_sockets, &key);
	return 0;
}

SEC("iter/bpf_map_elem")
int sweep_flows(struct bpf_iter__bpf_map_elem *ctx)
{
	struct flow_key *found = ctx->key;
	struct owner *owner = ctx->value;
	struct flow_key key;

	if (!owner || !found || !is_old(owner))
		return 0;
	__builtin_memcpy(&key, found, sizeof(key));
	bpf_map_delete_elem(&gadget_socket_flows, &key);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
