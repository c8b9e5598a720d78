// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// What is kept of sockets and of the processes that hold them.

/* The layout of struct gadget_socket_value in use; what follows is where user space says. */
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
	/* How many sockets have this key, the sum of their processes' numbers and of the squares of these: enough to tell
	 * whether it is one process. Those whose process is not known are counted apart. */
	__u32 sockets;
	__u64 sum;
	__u64 squares;
	__u32 unknown;
	__u32 pad2;
	/* When a connection of another process ended, whose last packets may still be under way. */
	__u64 unsettled;
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
	/* Of packets that a process has sent through a socket that takes packets from anyone, or that others hold too. */
	__u16 is_sent;
	__u32 laddr[4];
	__u32 raddr[4];
};

/* Keys that a socket is counted in. */
#define CLAIM_OWN 1   /* its own family */
#define CLAIM_IPV4 2  /* IPv4, for a socket of IPv6 that takes it */
#define CLAIM_BOUND 4 /* its local address */
#define CLAIM_BOUND_IPV4 8
#define CLAIM_CONNECTION 16 /* both its addresses */

struct process {
	__u64 mntns;
	__u64 pid_tgid;
	__u64 uid_gid;
	char task[16];
	char ptask[16];
	__u32 ppid;
	__u32 ptid;
};

/* What is known of one socket. */
struct socket_state {
	/* Who acted on it last; of nobody where its holders are not known. */
	struct process owner;
	/* What to tell by that the owner is still what it was. */
	__u64 cred;
	__u64 nsproxy;
	/* The inode's number: a socket that comes to lie where another one lay has another one. 0 where it has none yet. */
	__u64 ino;
	/* Where several processes hold it, how many, and the sum of their numbers; else 0. */
	__u64 holders_sum;
	__u32 holders;
	/* Holdings of an earlier time do not count. */
	__u32 epoch;
	/* A walk through a table of descriptors: which one, and how many descriptors of this socket it met. */
	__u64 walk;
	__u32 seen;
	__u32 outside;
	struct flow_key connection;
	struct socket_key key;
	__u32 laddr[4];
	/* The process that it is counted for in its keys; 0 where that is not known. */
	__u32 counted;
	__u8 claims;
	char ipv6only;
	/* Process 1 is among the holders: it hands sockets to services, and waits. */
	__u8 init_holds;
	/* Somebody holds it that is not known. */
	__u8 uncertain;
};

struct holding {
	__u32 tgid;
	__u32 epoch;
	__u64 sk;
};

struct closing_key {
	__u32 tgid;
	__u32 index;
};

/* By the socket's address. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct socket_state);
} socket_states SEC(".maps");

/* The address of a listener; its connections inherit that. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, __u64);
} listeners SEC(".maps");

/* Which processes hold a socket, where they are several. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct holding);
	__type(value, __u8);
} holdings SEC(".maps");

/* Sockets that a process loses if the execve(2) that it has begun succeeds. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct closing_key);
	__type(value, __u64);
} closing SEC(".maps");

/* Processes that hold sockets. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct process);
} processes SEC(".maps");

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

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct socket_state);
} no_state SEC(".maps");

/* How many sockets the maps had no room for. */
__u64 not_fitting;
/* How many keys are ambiguous, or were. */
__u64 ambiguities;
/* How many tables of descriptors were too long to be looked through; since Linux 5.17 none is. */
__u64 unfinished;

/* How long what is gone is kept. */
const volatile __u64 keep_ns = 5000000000ULL;
/* Socket storage of tracing programs, Linux 5.11. */
const volatile bool has_storage = true;
/* The end of a UDP socket is told by its cgroup. */
const volatile bool has_release = true;
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

/* Whether what runs now is what the current task asked for. */
static __always_inline bool in_process(void)
{
	__u32 zero = 0;
	__u32 *serving = bpf_map_lookup_elem(&softirq, &zero);
	struct task_struct *task = (void *)bpf_get_current_task();

	if (!serving || *serving)
		return false;
	/* Threads of the kernel finish what others have begun. */
	return !(BPF_CORE_READ(task, flags) & (PF_KTHREAD | PF_IDLE));
}

static __always_inline __u32 current_tgid(void)
{
	return BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), tgid);
}

static __always_inline void fill_process(struct process *p, struct task_struct *task)
{
	struct task_struct *parent = BPF_CORE_READ(task, real_parent);
	const struct cred *cred = BPF_CORE_READ(task, real_cred);

	p->mntns = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
	p->pid_tgid = (__u64)BPF_CORE_READ(task, tgid) << 32 | (__u32)BPF_CORE_READ(task, pid);
	p->uid_gid = (__u64)BPF_CORE_READ(cred, gid.val) << 32 | BPF_CORE_READ(cred, uid.val);
	bpf_probe_read_kernel_str(p->task, sizeof(p->task), task->comm);
	p->ppid = BPF_CORE_READ(parent, tgid);
	p->ptid = BPF_CORE_READ(parent, pid);
	bpf_probe_read_kernel_str(p->ptask, sizeof(p->ptask), parent->comm);
}

static __always_inline bool is_any(const __u32 *address)
{
	return (address[0] | address[1] | address[2] | address[3]) == 0;
}

static __always_inline bool is_mapped(const __u32 *address)
{
	return address[0] == 0 && address[1] == 0 && address[2] == bpf_htonl(0xffff);
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

/* Where the socket is: false for one that has no port yet. */
static __always_inline bool locate(struct sock *sk, struct socket_state *state)
{
	struct socket_key *key = &state->key;

	key->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	key->proto = BPF_CORE_READ_BITFIELD_PROBED(sk, sk_protocol);
	key->port = BPF_CORE_READ(sk, __sk_common.skc_num);
	if (key->port == 0)
		return false;
	key->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	state->ipv6only = 0;
	__builtin_memset(state->laddr, 0, sizeof(state->laddr));
	if (key->family == AF_INET) {
		state->laddr[0] = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
	} else {
		state->ipv6only = BPF_CORE_READ_BITFIELD_PROBED(sk, __sk_common.skc_ipv6only);
		BPF_CORE_READ_INTO(&state->laddr, sk, __sk_common.skc_v6_rcv_saddr);
	}
	return true;
}

/* A pointer that the verifier knows, as a number. */
static __always_inline __u64 address_of(const void *pointer)
{
	__u64 address = 0;

	bpf_probe_read_kernel(&address, sizeof(address), &pointer);
	return address;
}

static __always_inline struct socket_state *state_of(__u64 sk)
{
	return bpf_map_lookup_elem(&socket_states, &sk);
}

/* The state of a socket, made if there is none; NULL where there is no room. */
static __noinline struct socket_state *make_state(__u64 sk)
{
	struct socket_state *state = bpf_map_lookup_elem(&socket_states, &sk);
	__u32 zero = 0;
	struct socket_state *empty;

	if (state)
		return state;
	empty = bpf_map_lookup_elem(&no_state, &zero);
	if (!empty)
		return NULL;
	/* As an int: before Linux 6.4 the upper half of what functions of maps return may be anything. */
	if ((int)bpf_map_update_elem(&socket_states, &sk, empty, BPF_NOEXIST) == -E2BIG)
		__sync_fetch_and_add(&not_fitting, 1);
	state = bpf_map_lookup_elem(&socket_states, &sk);
	/* Another socket may have lain here, held by the same processes. */
	if (state)
		state->epoch = bpf_ktime_get_ns() >> 10;
	return state;
}

static __always_inline __u64 inode_of(struct sock *sk)
{
	struct socket *socket = BPF_CORE_READ(sk, sk_socket);

	if (!socket)
		return 0;
	return BPF_CORE_READ(container_of(socket, struct socket_alloc, socket), vfs_inode.i_ino);
}

/* Linux 6.13 counts the references of a file in another way: from 0 on. */
typedef struct {
	atomic64_t refcnt;
} file_ref_t___6_13;

struct file___6_13 {
	file_ref_t___6_13 f_ref;
} __attribute__((preserve_access_index));

/* How many descriptors, messages and system calls in progress have the socket open. */
static __always_inline long references(struct sock *sk)
{
	struct file *file = BPF_CORE_READ(sk, sk_socket, file);
	struct file___6_13 *newer = (void *)file;

	if (!file)
		return 0;
	if (bpf_core_field_exists(newer->f_ref))
		return BPF_CORE_READ(newer, f_ref.refcnt.counter) + 1;
	return BPF_CORE_READ(file, f_count.counter);
}

/* The only process that holds the socket; 0 where there are several, or it is not known. */
static __always_inline __u32 sole_process(const struct socket_state *state)
{
	if (state->uncertain)
		return 0;
	if (state->holders == 0)
		return state->owner.pid_tgid >> 32;
	if (state->holders == 1)
		return state->holders_sum;
	if (state->holders == 2 && state->init_holds)
		return state->holders_sum - 1;
	return 0;
}
