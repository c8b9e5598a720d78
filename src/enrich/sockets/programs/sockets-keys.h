// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// What is published: for each key under which packets look for a socket, the process, or that there are several.

#include "sockets-paths.h"

static __noinline void publish(struct owner *to, const struct process *from, __u64 sock, char ipv6only)
{
	bool isSame = to->pid_tgid >> 32 == from->pid_tgid >> 32;

	to->mntns = from->mntns;
	to->uid_gid = from->uid_gid;
	__builtin_memcpy(to->task, from->task, sizeof(to->task));
	__builtin_memcpy(to->ptask, from->ptask, sizeof(to->ptask));
	to->ppid = from->ppid;
	to->ptid = from->ptid;
	to->ipv6only = ipv6only;
	to->pid_tgid = from->pid_tgid;
	to->sock = sock;
	to->ambiguous = 0;
	to->unsettled = 0;
	fill_paths(to, from->pid_tgid, isSame);
}

/* Keeps what the owners have in common. */
static __noinline void make_ambiguous(struct owner *to, const struct process *other)
{
	const char text[16] = "ambiguous";

	if (to->sock == 0)
		to->mntns = other->mntns;
	else if (to->mntns != other->mntns)
		to->mntns = 0;
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
	int error;

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

static __always_inline void count_process(struct owner *entry, __u32 tgid, int by)
{
	__u64 number = tgid;

	if (tgid == 0) {
		__sync_fetch_and_add(&entry->unknown, by);
		return;
	}
	__sync_fetch_and_add(&entry->sum, by > 0 ? number : -number);
	__sync_fetch_and_add(&entry->squares, by > 0 ? number * number : -(number * number));
}

/* The only process that has sockets of this key, or 0. */
static __always_inline __u32 process_of(const struct owner *entry)
{
	__u64 count = entry->sockets;
	__u64 number;

	if (count == 0 || entry->unknown)
		return 0;
	number = entry->sum / count;
	if (number * count != entry->sum || number * number * count != entry->squares)
		return 0;
	return number;
}

/* Says of a key what is true now. */
static __always_inline void say(struct owner *entry, const struct socket_state *state, __u64 sk)
{
	__u32 tgid = process_of(entry);
	struct process *process;

	if (tgid == 0 || (entry->unsettled && bpf_ktime_get_ns() - entry->unsettled < keep_ns)) {
		make_ambiguous(entry, &state->owner);
		if (entry->sock == 0)
			entry->sock = sk;
		return;
	}
	if (tgid == state->owner.pid_tgid >> 32) {
		/* One of many sockets of the same process: it is said already. */
		if (!entry->ambiguous && entry->sock && entry->sock != sk && entry->pid_tgid >> 32 == tgid)
			return;
		publish(entry, &state->owner, sk, state->ipv6only);
		return;
	}
	process = bpf_map_lookup_elem(&processes, &tgid);
	if (process)
		publish(entry, process, entry->sock, entry->ipv6only);
	else
		make_ambiguous(entry, &state->owner);
}

static __noinline bool claim(void *map, void *key, const struct socket_state *state, __u64 sk)
{
	struct owner *entry = entry_of(map, key);

	if (!entry)
		return false;
	if (entry->deletion_timestamp) {
		/* The last packets of a connection of this port may still come. */
		if (state->key.proto == IPPROTO_TCP && entry->pid_tgid >> 32 != state->counted &&
		    bpf_ktime_get_ns() - entry->deletion_timestamp < keep_ns)
			entry->unsettled = bpf_ktime_get_ns();
		entry->deletion_timestamp = 0;
		entry->sock = 0;
	}
	__sync_fetch_and_add(&entry->sockets, 1);
	count_process(entry, state->counted, 1);
	say(entry, state, sk);
	return true;
}

static __noinline void reclaim(void *map, void *key, const struct socket_state *state, __u64 sk, __u32 before)
{
	struct owner *entry = bpf_map_lookup_elem(map, key);

	if (!entry)
		return;
	if (before != state->counted) {
		count_process(entry, before, -1);
		count_process(entry, state->counted, 1);
	}
	say(entry, state, sk);
}

static __noinline void unclaim(void *map, void *key, const struct socket_state *state, __u64 sk)
{
	struct owner *entry = bpf_map_lookup_elem(map, key);

	if (!entry || entry->sockets == 0)
		return;
	__sync_fetch_and_add(&entry->sockets, -1);
	count_process(entry, state->counted, -1);
	if (entry->sockets == 0) {
		entry->deletion_timestamp = bpf_ktime_get_ns();
		return;
	}
	if (!entry->ambiguous)
		return;
	if (state->key.proto == IPPROTO_TCP)
		entry->unsettled = bpf_ktime_get_ns();
	else
		say(entry, state, sk);
}

static __always_inline bool takes_ipv4(const struct socket_state *state)
{
	return state->key.family == AF_INET6 &&
	       (is_mapped(state->laddr) || (is_any(state->laddr) && !state->ipv6only));
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

/* Both addresses of a socket that is connected. */
static __always_inline bool connection_of(struct sock *sk, const struct socket_state *state, struct flow_key *flow)
{
	__u16 rport = BPF_CORE_READ(sk, __sk_common.skc_dport);

	if (rport == 0)
		return false;
	__builtin_memset(flow, 0, sizeof(*flow));
	flow->key = state->key;
	flow->rport = bpf_ntohs(rport);
	if (flow->key.family == AF_INET) {
		flow->laddr[0] = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
		flow->raddr[0] = BPF_CORE_READ(sk, __sk_common.skc_daddr);
		return true;
	}
	BPF_CORE_READ_INTO(&flow->laddr, sk, __sk_common.skc_v6_rcv_saddr);
	BPF_CORE_READ_INTO(&flow->raddr, sk, __sk_common.skc_v6_daddr);
	if (is_mapped(flow->laddr)) {
		flow->key.family = AF_INET;
		flow->laddr[0] = flow->laddr[3];
		flow->raddr[0] = flow->raddr[3];
		flow->laddr[2] = flow->laddr[3] = flow->raddr[2] = flow->raddr[3] = 0;
	}
	return true;
}

static __noinline void forget_connection(struct socket_state *state, __u64 sk)
{
	struct owner *entry;

	if (!(state->claims & CLAIM_CONNECTION))
		return;
	state->claims &= ~CLAIM_CONNECTION;
	entry = bpf_map_lookup_elem(&gadget_socket_flows, &state->connection);
	if (entry && entry->sock == sk)
		entry->deletion_timestamp = bpf_ktime_get_ns();
}

/* A connected socket whose port says less than its addresses is known by these, from then on until its end. */
static __noinline void claim_connection(struct socket_state *state, __u64 sk)
{
	struct flow_key flow;
	struct owner *entry;

	if (!connection_of((struct sock *)sk, state, &flow))
		return;
	if (!(state->claims & CLAIM_CONNECTION)) {
		entry = bpf_map_lookup_elem(&gadget_sockets, &flow.key);
		if (!entry || !entry->ambiguous)
			return;
	} else if (flow.rport != state->connection.rport || flow.raddr[0] != state->connection.raddr[0] ||
		   flow.raddr[3] != state->connection.raddr[3] || flow.laddr[3] != state->connection.laddr[3]) {
		forget_connection(state, sk);
	}
	entry = entry_of(&gadget_socket_flows, &flow);
	if (!entry)
		return;
	if (!(state->claims & CLAIM_CONNECTION)) {
		state->connection = flow;
		state->claims |= CLAIM_CONNECTION;
	}
	if (entry->deletion_timestamp)
		entry->deletion_timestamp = 0;
	if (state->counted == 0) {
		make_ambiguous(entry, &state->owner);
		entry->sock = sk;
	} else if (entry->sock != sk || entry->ambiguous || entry->pid_tgid != state->owner.pid_tgid) {
		publish(entry, &state->owner, sk, 0);
	}
}

/* Counts the socket in the keys that packets to it and from it have. */
static __noinline void claim_keys(struct socket_state *state, __u64 sk, bool isBound)
{
	struct flow_key flow;
	bool takesIpv4 = takes_ipv4(state);

	flow.key = state->key;
	if (!(state->claims & CLAIM_OWN) && claim(&gadget_sockets, &flow.key, state, sk))
		state->claims |= CLAIM_OWN;
	if (takesIpv4 && !(state->claims & CLAIM_IPV4)) {
		flow.key.family = AF_INET;
		if (claim(&gadget_sockets, &flow.key, state, sk))
			state->claims |= CLAIM_IPV4;
	}
	if (!isBound)
		return;
	bound_key(state, &flow);
	if (!(state->claims & CLAIM_BOUND) && claim(&gadget_socket_flows, &flow, state, sk))
		state->claims |= CLAIM_BOUND;
	if (takesIpv4 && is_any(state->laddr) && !(state->claims & CLAIM_BOUND_IPV4)) {
		flow.key.family = AF_INET;
		if (claim(&gadget_socket_flows, &flow, state, sk))
			state->claims |= CLAIM_BOUND_IPV4;
	}
}

static __always_inline void reclaim_keys(struct socket_state *state, __u64 sk, __u32 before)
{
	struct flow_key flow;

	/* One key after the other in the same place: before Linux 6.8 the stack is full to its last byte. */
	flow.key = state->key;
	if (state->claims & CLAIM_OWN)
		reclaim(&gadget_sockets, &flow.key, state, sk, before);
	if (state->claims & CLAIM_IPV4) {
		flow.key.family = AF_INET;
		reclaim(&gadget_sockets, &flow.key, state, sk, before);
	}
	bound_key(state, &flow);
	if (state->claims & CLAIM_BOUND)
		reclaim(&gadget_socket_flows, &flow, state, sk, before);
	if (state->claims & CLAIM_BOUND_IPV4) {
		flow.key.family = AF_INET;
		reclaim(&gadget_socket_flows, &flow, state, sk, before);
	}
}

static __always_inline void unclaim_keys(struct socket_state *state, __u64 sk)
{
	struct flow_key flow;

	forget_connection(state, sk);
	flow.key = state->key;
	if (state->claims & CLAIM_OWN)
		unclaim(&gadget_sockets, &flow.key, state, sk);
	if (state->claims & CLAIM_IPV4) {
		flow.key.family = AF_INET;
		unclaim(&gadget_sockets, &flow.key, state, sk);
	}
	bound_key(state, &flow);
	if (state->claims & CLAIM_BOUND)
		unclaim(&gadget_socket_flows, &flow, state, sk);
	if (state->claims & CLAIM_BOUND_IPV4) {
		flow.key.family = AF_INET;
		unclaim(&gadget_socket_flows, &flow, state, sk);
	}
	state->claims = 0;
}

/*
 * The end of a socket. Global functions, here and below, take addresses alone: the verifier looks at each of them once, not
 * once for each call.
 */
__noinline int forget_socket(__u64 sk)
{
	struct socket_state *state = state_of(sk);

	if (!state)
		return 0;
	if (state->claims & CLAIM_OWN)
		claim_connection(state, sk);
	unclaim_keys(state, sk);
	bpf_map_delete_elem(&socket_states, &sk);
	return 0;
}

/* After a change of the socket's holders: who it belongs to, and what its keys say. */
__noinline int recount(__u64 sk, __u32 isChanged)
{
	struct socket_state *state = state_of(sk);
	struct process *process;
	__u32 before, now;

	if (!state)
		return 0;
	now = sole_process(state);
	if (now && now != state->owner.pid_tgid >> 32) {
		process = bpf_map_lookup_elem(&processes, &now);
		if (process)
			state->owner = *process;
		else
			now = 0;
		isChanged = 1;
	}
	before = state->counted;
	if (now == before && !isChanged)
		return 0;
	state->counted = now;
	if (!(state->claims & CLAIM_OWN))
		return 0;
	reclaim_keys(state, sk, before);
	claim_connection(state, sk);
	return 0;
}
