// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Keeps gadget_sockets: which process each TCP and UDP socket of every network namespace belongs to. Whoever acts on a
// socket in process context (binds it, listens, accepts, sends, receives) owns it from then on; packets that the kernel sends
// by itself change nothing. Where several processes hold a socket, nobody owns it until one alone is left.

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_endian.h>

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM_TYPE 1
#define SOCK_DGRAM_TYPE 2
#define SOL_SOCKET 1
#define SCM_RIGHTS 1
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define PF_IDLE 0x00000002
#define PF_KTHREAD 0x00200000
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define E2BIG 7
#define ENOMEM 12

#include "sockets-state.h"
#include "sockets-keys.h"
#include "sockets-holders.h"
#include "sockets-calls.h"

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

/* The packet's addresses, read from its network header. */
struct ends {
	__u16 family;
	__u16 sport;
	__u16 dport;
	__u32 saddr[4];
	__u32 daddr[4];
};

/* Two processes that send the same way within this time, on two processors, may be taken for each other. */
#define TOO_CLOSE 50000

/* What is sent here is this process's, though the socket is not its alone, or not the only one of the port. */
static __noinline void claim_sent(struct socket_state *state, __u64 sk, const struct ends *ends, bool isProcess)
{
	struct flow_key flow = {};
	struct owner *entry;
	__u64 now = bpf_ktime_get_ns();

	flow.key = state->key;
	flow.key.family = ends->family;
	flow.is_sent = 1;
	flow.rport = ends->dport;
	__builtin_memcpy(flow.laddr, ends->saddr, sizeof(flow.laddr));
	__builtin_memcpy(flow.raddr, ends->daddr, sizeof(flow.raddr));
	entry = entry_of(&gadget_socket_flows, &flow);
	if (!entry)
		return;
	if ((!isProcess && state->counted == 0) || state->owner.pid_tgid == 0 ||
	    (entry->pid_tgid >> 32 != state->owner.pid_tgid >> 32 && now - entry->deletion_timestamp < TOO_CLOSE))
		make_ambiguous(entry, &state->owner);
	else if (entry->pid_tgid != state->owner.pid_tgid || entry->sock != sk)
		publish(entry, &state->owner, sk, 0);
	entry->sock = sk;
	/* The sweep takes it away when nothing has been sent for some time. */
	entry->deletion_timestamp = now;
}

/* A packet of the socket: who it belongs to, before anything else sees it. */
static __always_inline void sent(struct sock *sk, const struct ends *ends, bool isProcess)
{
	__u64 address = (__u64)sk;
	struct socket_state *state;
	struct socket_key key;
	struct owner *found;

	if (isProcess)
		act_in_place(address, false);
	state = state_of(address);
	if (!state || ends->sport != state->key.port)
		return;
	key = state->key;
	key.family = ends->family;
	found = bpf_map_lookup_elem(&gadget_sockets, &key);
	if (!found && key.family != state->key.family) {
		key.family = state->key.family;
		found = bpf_map_lookup_elem(&gadget_sockets, &key);
	}
	if (!found || !found->ambiguous)
		return;
	if (BPF_CORE_READ(sk, __sk_common.skc_dport)) {
		claim_connection(state, address);
		if (state->counted)
			return;
	}
	claim_sent(state, address, ends, isProcess);
}

/* Ports are read as they come, both at once. */
static __always_inline void turn_ports(struct ends *ends)
{
	ends->sport = bpf_ntohs(ends->sport);
	ends->dport = bpf_ntohs(ends->dport);
}

/* Everything is read to where it stays: before Linux 6.8 the programs below have no stack to spare. */
SEC("cgroup_skb/egress")
int socket_sends(struct __sk_buff *skb)
{
	/* The context is the kernel's own packet: from there the socket is an address, not only what programs may see of it. */
	struct sock *sk = BPF_CORE_READ((struct sk_buff *)skb, sk);
	struct ends ends = {};
	__u8 *first = (__u8 *)&ends.sport;

	if (!sk || !is_wanted(sk))
		return 1;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		ends.family = AF_INET;
		if (bpf_skb_load_bytes(skb, 0, first, 1) || bpf_skb_load_bytes(skb, 12, ends.saddr, 4) ||
		    bpf_skb_load_bytes(skb, 16, ends.daddr, 4) || bpf_skb_load_bytes(skb, (*first & 15) * 4, &ends.sport, 4))
			return 1;
	} else {
		ends.family = AF_INET6;
		if (bpf_skb_load_bytes(skb, 8, ends.saddr, 16) || bpf_skb_load_bytes(skb, 24, ends.daddr, 16) ||
		    bpf_skb_load_bytes(skb, 40, &ends.sport, 4))
			return 1;
	}
	turn_ports(&ends);
	sent(sk, &ends, in_process());
	return 1;
}

/* The same where there is no cgroup hierarchy to attach to. */
SEC("?tp_btf/net_dev_queue")
int BPF_PROG(packet_queued, struct sk_buff *skb)
{
	struct sock *sk = BPF_CORE_READ(skb, sk);
	struct ends ends = {};
	__u8 *first = (__u8 *)&ends.sport;
	unsigned char *at;
	__u8 state;

	if (!sk)
		return 0;
	state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (state == TCP_TIME_WAIT || state == TCP_NEW_SYN_RECV || !is_wanted(sk))
		return 0;
	at = BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, network_header);
	if (BPF_CORE_READ(skb, protocol) == bpf_htons(ETH_P_IP)) {
		ends.family = AF_INET;
		if (bpf_probe_read_kernel(first, 1, at) || bpf_probe_read_kernel(ends.saddr, 4, at + 12) ||
		    bpf_probe_read_kernel(ends.daddr, 4, at + 16) || bpf_probe_read_kernel(&ends.sport, 4, at + (*first & 15) * 4))
			return 0;
	} else {
		ends.family = AF_INET6;
		if (bpf_probe_read_kernel(ends.saddr, 16, at + 8) || bpf_probe_read_kernel(ends.daddr, 16, at + 24) ||
		    bpf_probe_read_kernel(&ends.sport, 4, at + 40))
			return 0;
	}
	turn_ports(&ends);
	sent(sk, &ends, in_process());
	return 0;
}

SEC("cgroup/post_bind4")
int socket_bound4(struct bpf_sock *ctx)
{
	if (is_wanted((struct sock *)ctx))
		act_in_place(address_of(ctx), true);
	return 1;
}

SEC("cgroup/post_bind6")
int socket_bound6(struct bpf_sock *ctx)
{
	if (is_wanted((struct sock *)ctx))
		act_in_place(address_of(ctx), true);
	return 1;
}

/* Only of UDP: a connection lives on after its last descriptor is closed. */
SEC("cgroup/sock_release")
int socket_released(struct bpf_sock *ctx)
{
	if (ctx->protocol == IPPROTO_UDP)
		forget_socket(address_of(ctx));
	return 1;
}

/* A connection that has come in belongs to the process that holds its listener, until another one accepts it. */
static __noinline void connected(__u64 address, __u64 listener)
{
	struct sock *sk = (struct sock *)address;
	struct socket_state *state;
	struct socket_state *from = listener ? state_of(listener) : NULL;
	struct owner *entry;

	forget_socket(address);
	state = make_state(address);
	if (!state || !locate(sk, state))
		return;
	if (from) {
		if (sole_process(from))
			state->owner = from->owner;
	} else {
		entry = bpf_map_lookup_elem(&gadget_sockets, &state->key);
		if (entry && !entry->ambiguous && !entry->deletion_timestamp) {
			state->owner.mntns = entry->mntns;
			state->owner.pid_tgid = entry->pid_tgid;
			state->owner.uid_gid = entry->uid_gid;
			__builtin_memcpy(state->owner.task, entry->task, sizeof(entry->task));
			__builtin_memcpy(state->owner.ptask, entry->ptask, sizeof(entry->ptask));
			state->owner.ppid = entry->ppid;
			state->owner.ptid = entry->ptid;
		}
	}
	if (from) {
		state->cred = from->cred;
		state->nsproxy = from->nsproxy;
	}
	recount(address, 1);
	claim_keys(state, address, false);
	claim_connection(state, address);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state_changes, struct sock *sk, int before, int after)
{
	__u64 address = address_of(sk);
	__u64 *listener = NULL;

	if (!is_wanted(sk))
		return 0;
	if (after == TCP_LISTEN && in_process()) {
		act_in_place(address, true);
		if (has_storage)
			listener = bpf_sk_storage_get(&listeners, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (listener)
			*listener = address;
	} else if (after == TCP_ESTABLISHED && before == TCP_SYN_RECV) {
		if (has_storage)
			listener = bpf_sk_storage_get(&listeners, sk, 0, 0);
		connected(address, listener ? *listener : 0);
	}
	return 0;
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(connection_destroyed, struct sock *sk)
{
	return forget_socket(address_of(sk));
}

/* Whoever receives acts too (Linux 6.3): a process that has got a socket in a way that no tracepoint shows. */
SEC("?tp_btf/sock_recv_length")
int BPF_PROG(socket_receives, struct sock *sk, int length, int flags)
{
	if (length >= 0 && is_wanted(sk))
		act_in_place(address_of(sk), false);
	return 0;
}

/* Sockets that were there before, by the descriptors of all processes. */
SEC("iter/task_file")
int find_sockets(struct bpf_iter__task_file *ctx)
{
	struct file *file = ctx->file;
	struct task_struct *task = ctx->task;
	struct socket_state *state;
	struct process process = {};
	struct sock *sk;
	__u64 address;
	__u64 ino;
	__u32 tgid;

	if (!file || !task)
		return 0;
	address = socket_of(file);
	if (!address)
		return 0;
	sk = (struct sock *)address;
	state = make_state(address);
	if (!state)
		return 0;
	ino = inode_of(sk);
	if (state->ino == 0)
		state->ino = ino;
	tgid = BPF_CORE_READ(task, tgid);
	fill_process(&process, BPF_CORE_READ(task, group_leader));
	bpf_map_update_elem(&processes, &tgid, &process, BPF_NOEXIST);
	if (state->owner.pid_tgid && state->owner.pid_tgid >> 32 != tgid)
		hold(state, address, state->owner.pid_tgid >> 32);
	if (state->owner.pid_tgid == 0)
		state->owner = process;
	/* This walk itself is one of the references. */
	if (state->holders || references(sk) > 2)
		hold(state, address, tgid);
	recount(address, 1);
	if (!(state->claims & CLAIM_OWN) && locate(sk, state)) {
		claim_keys(state, address, BPF_CORE_READ(sk, __sk_common.skc_dport) == 0);
		claim_connection(state, address);
	}
	return 0;
}

/* Their connections are to know them: needs Linux 5.11. */
SEC("iter/task_file")
int find_listeners(struct bpf_iter__task_file *ctx)
{
	struct file *file = ctx->file;
	struct socket *socket;
	struct sock *sk;
	__u64 *listener;

	if (!file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk || !is_wanted(sk) || BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_LISTEN)
		return 0;
	listener = bpf_sk_storage_get(&listeners, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (listener)
		*listener = address_of(sk);
	return 0;
}

/* Forgets what has been gone for long enough, and says who is left where others' last packets were waited for. */
static __always_inline void sweep(void *map, void *key)
{
	struct owner *owner = bpf_map_lookup_elem(map, key);
	__u64 now = bpf_ktime_get_ns();
	struct process *process;
	__u32 tgid;

	if (!owner)
		return;
	if (owner->deletion_timestamp) {
		if (now - owner->deletion_timestamp > keep_ns)
			bpf_map_delete_elem(map, key);
		return;
	}
	if (!owner->unsettled || now - owner->unsettled < keep_ns)
		return;
	owner->unsettled = 0;
	tgid = process_of(owner);
	process = bpf_map_lookup_elem(&processes, &tgid);
	if (tgid && process)
		publish(owner, process, owner->sock, owner->ipv6only);
}

SEC("iter/bpf_map_elem")
int sweep_sockets(struct bpf_iter__bpf_map_elem *ctx)
{
	struct socket_key *found = ctx->key;
	struct socket_key key;

	if (!found)
		return 0;
	__builtin_memcpy(&key, found, sizeof(key));
	sweep(&gadget_sockets, &key);
	return 0;
}

SEC("iter/bpf_map_elem")
int sweep_flows(struct bpf_iter__bpf_map_elem *ctx)
{
	struct flow_key *found = ctx->key;
	struct flow_key key;

	if (!found)
		return 0;
	__builtin_memcpy(&key, found, sizeof(key));
	sweep(&gadget_socket_flows, &key);
	return 0;
}

SEC("iter/bpf_map_elem")
int sweep_holdings(struct bpf_iter__bpf_map_elem *ctx)
{
	struct holding *found = ctx->key;
	struct socket_state *state;
	struct holding key;

	if (!found)
		return 0;
	__builtin_memcpy(&key, found, sizeof(key));
	state = state_of(key.sk);
	if (!state || state->epoch != key.epoch)
		bpf_map_delete_elem(&holdings, &key);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
