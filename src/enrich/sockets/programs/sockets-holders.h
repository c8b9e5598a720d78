// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Who holds a socket: what fork, exec, exit, close and messages with descriptors change.

static __always_inline void hold(struct socket_state *state, __u64 sk, __u32 tgid)
{
	struct holding key = { .tgid = tgid, .epoch = state->epoch, .sk = sk };
	__u8 one = 1;
	int error = bpf_map_update_elem(&holdings, &key, &one, BPF_NOEXIST);

	if (error == -E2BIG || error == -ENOMEM) {
		__sync_fetch_and_add(&not_fitting, 1);
		state->uncertain = 1;
	}
	if (error)
		return;
	__sync_fetch_and_add(&state->holders, 1);
	__sync_fetch_and_add(&state->holders_sum, (__u64)tgid);
	if (tgid == 1)
		state->init_holds = 1;
}

static __always_inline void drop(struct socket_state *state, __u64 sk, __u32 tgid)
{
	struct holding key = { .tgid = tgid, .epoch = state->epoch, .sk = sk };

	if (bpf_map_delete_elem(&holdings, &key))
		return;
	__sync_fetch_and_add(&state->holders, -1);
	__sync_fetch_and_add(&state->holders_sum, -(__u64)tgid);
	if (tgid == 1)
		state->init_holds = 0;
}

/* One process alone has it now. */
static __always_inline void forget_holders(struct socket_state *state)
{
	if (state->holders) {
		/* The sweep takes away what is left of the time before. */
		state->epoch = bpf_ktime_get_ns() >> 10;
		state->holders = 0;
		state->holders_sum = 0;
		state->init_holds = 0;
	}
	state->uncertain = 0;
}

/* A function of its own: its stack is not there while files are walked, where Linux before 6.8 counts 32 bytes for each step begun. */
static __noinline void remember(__u32 tgid, struct task_struct *task)
{
	struct process process = {};

	fill_process(&process, task);
	bpf_map_update_elem(&processes, &tgid, &process, BPF_ANY);
}

/* The owner is the current task, by whatever it does with the socket. */
static __always_inline void own(struct socket_state *state, struct task_struct *task, __u32 tgid)
{
	fill_process(&state->owner, task);
	state->cred = (__u64)BPF_CORE_READ(task, cred);
	state->nsproxy = (__u64)BPF_CORE_READ(task, nsproxy);
	bpf_map_update_elem(&processes, &tgid, &state->owner, BPF_ANY);
}

/* The current task acts on a socket in a system call. */
__noinline int act(__u64 address)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct sock *sk = (struct sock *)address;
	__u32 tgid = BPF_CORE_READ(task, tgid);
	struct socket_state *state = make_state(address);
	__u64 ino = inode_of(sk);
	char comm[16] = {};
	bool isSame;
	__u32 had;

	if (!state)
		return 0;
	if (ino != state->ino) {
		if (state->ino && ino) {
			/* Another socket at the same place, whose end was not seen. */
			forget_socket(address);
			state = make_state(address);
			if (!state)
				return 0;
		}
		if (ino)
			state->ino = ino;
	}
	had = state->owner.pid_tgid >> 32;
	bpf_probe_read_kernel_str(comm, sizeof(comm), task->comm);
	isSame = had == tgid && state->cred == (__u64)BPF_CORE_READ(task, cred) &&
		 state->nsproxy == (__u64)BPF_CORE_READ(task, nsproxy) &&
		 __builtin_memcmp(comm, state->owner.task, 8) == 0 &&
		 __builtin_memcmp(comm + 8, state->owner.task + 8, 8) == 0;
	if (isSame && sole_process(state) == tgid)
		return 0;
	if (references(sk) <= 1) {
		forget_holders(state);
	} else if (state->holders || (had && had != tgid)) {
		if (!state->holders)
			hold(state, address, had);
		hold(state, address, tgid);
		if (isSame)
			return 0;
	}
	own(state, task, tgid);
	recount(address, 1);
	return 0;
}

/* The same, and where it takes packets is known from now on. */
__noinline int act_in_place(__u64 address, __u32 isBound)
{
	struct socket_state *state;

	act(address);
	state = state_of(address);
	if (!state || (state->claims & (isBound ? CLAIM_BOUND : CLAIM_OWN)))
		return 0;
	if ((state->claims & CLAIM_OWN) || locate((struct sock *)address, state)) {
		claim_keys(state, address, isBound);
		claim_connection(state, address);
	}
	return 0;
}

/* The current process has got a descriptor of a socket from another one. */
static __always_inline void receive(__u64 address)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct sock *sk = (struct sock *)address;
	__u32 tgid = BPF_CORE_READ(task, tgid);
	struct socket_state *state = make_state(address);
	__u32 had;

	if (!state)
		return;
	if (state->ino == 0)
		state->ino = inode_of(sk);
	remember(tgid, task);
	had = state->owner.pid_tgid >> 32;
	if (references(sk) <= 1) {
		forget_holders(state);
		own(state, task, tgid);
	} else {
		if (!state->holders && had)
			hold(state, address, had);
		else if (!state->holders && !(state->claims & CLAIM_OWN))
			state->uncertain = 1;
		hold(state, address, tgid);
	}
	recount(address, 1);
}

/* No cgroup tells of the end of a UDP socket: its last descriptor does. */
static __always_inline bool end_is_seen_here(const struct socket_state *state)
{
	return !has_release && state->key.proto != IPPROTO_TCP;
}

/* With bpf_loop() a frame more than Linux before 6.8 has room for, which counts 32 bytes for the smallest. */
#ifdef WITHOUT_BPF_LOOP
#define LEAVE static __noinline
#else
#define LEAVE static __always_inline
#endif

/* A process has no descriptor of it any more, or is about to close as many as these. */
LEAVE void leave(struct socket_state *state, __u64 address, __u32 tgid, long closed)
{
	if (references((struct sock *)address) <= closed) {
		/* It goes away, and its process is remembered for its last packets. */
		if (end_is_seen_here(state))
			forget_socket(address);
		return;
	}
	if (state->holders)
		drop(state, address, tgid);
	if (state->holders == 0)
		__builtin_memset(&state->owner, 0, sizeof(state->owner));
	recount(address, 1);
}

/* The TCP or UDP socket that a file is, or 0. */
static __always_inline __u64 socket_of(struct file *file)
{
	struct socket *socket;
	struct sock *sk;

	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	/* NULL of a path of a Unix socket, opened by O_PATH. */
	socket = BPF_CORE_READ(file, private_data);
	if (!socket)
		return 0;
	sk = BPF_CORE_READ(socket, sk);
	return sk && is_wanted(sk) ? (__u64)sk : 0;
}

static __always_inline struct file *file_of(struct task_struct *task, __u32 fd)
{
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files = BPF_CORE_READ(table, fd);
	struct file *file = NULL;

	if (fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), &files[fd]);
	return file;
}

/* What a walk does with each socket. */
#define WALK_FORK 1    /* parent and child hold it */
#define WALK_COUNT 2   /* counts the descriptors that will be closed; 1 if somebody else may hold it */
#define WALK_LEAVE 3   /* the process closes them */
#define WALK_LIST 4    /* 1 if the process holds it no more after an exec, 2 if nobody does */
#define WALK_REFRESH 5 /* the process has another name */
#define WALK_CLOSES 0x100

/* who: a process, and for WALK_FORK its parent; walk: its number, the same for WALK_COUNT and what follows it. */
__noinline int visit(__u64 address, __u32 what, __u64 who, __u64 walk)
{
	struct socket_state *state;
	struct process *process;
	__u32 tgid = who;
	__u32 parent = who >> 32;
	bool closes = what & WALK_CLOSES;

	what &= 0xff;
	if (what == WALK_FORK) {
		__u32 had;

		state = make_state(address);
		if (!state)
			return 0;
		if (state->ino == 0)
			state->ino = inode_of((struct sock *)address);
		had = state->owner.pid_tgid >> 32;
		if (!state->holders && had && had != parent)
			hold(state, address, had);
		hold(state, address, parent);
		hold(state, address, tgid);
		recount(address, 0);
		return 1;
	}
	state = state_of(address);
	if (!state)
		return 0;
	switch (what) {
	case WALK_COUNT:
		if (state->walk != walk) {
			state->walk = walk;
			state->seen = 0;
			state->outside = 0;
		}
		if (closes)
			state->seen++;
		else
			state->outside++;
		return closes && (references((struct sock *)address) > 1 || end_is_seen_here(state));
	case WALK_LEAVE:
	case WALK_LIST:
		if (!closes || state->walk != walk || state->outside)
			return 0;
		state->walk = 0;
		if (what == WALK_LIST)
			return references((struct sock *)address) > state->seen ? 1 : end_is_seen_here(state) ? 2 : 0;
		leave(state, address, tgid, state->seen);
		return 1;
	case WALK_REFRESH:
		process = bpf_map_lookup_elem(&processes, &tgid);
		if (!process || sole_process(state) != tgid)
			return 0;
		state->owner = *process;
		recount(address, 1);
		return 1;
	}
	return 0;
}

/* A walk through the open descriptors of a process. */
struct walk {
	struct fdtable *table;
	/* The word of the bit map that is looked at, and the one after. */
	__u64 word;
	__u64 closing_word;
	__u32 next;
	__u32 words;
	__u32 what;
	/* Which descriptors count as closed: these, or if there are none the ones that exec closes. */
	__u32 first;
	__u32 last;
	__u32 found;
	__u64 who;
	__u64 number;
};

/* Where the lowest bit is: BPF has no instruction for it. */
static __always_inline __u32 lowest_bit(__u64 word)
{
	__u64 below = (word & -word) - 1;

	below -= below >> 1 & 0x5555555555555555ULL;
	below = (below & 0x3333333333333333ULL) + (below >> 2 & 0x3333333333333333ULL);
	below = (below + (below >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
	return below * 0x0101010101010101ULL >> 56;
}

/* A callback can't be inlined; elsewhere it would be one frame too many. */
#ifdef WITHOUT_BPF_LOOP
#define STEP __always_inline
#else
#define STEP __noinline
#endif

/* Looks at one descriptor, or goes on to the next 64 of them. */
static STEP long step(__u32 round, struct walk *w)
{
	struct fdtable *table = w->table;
	struct file *file = NULL;
	bool closes;
	__u64 sk;
	__u32 bit, fd;
	int answer;

	if (w->word == 0) {
		if (w->next >= w->words)
			return 1;
		bpf_probe_read_kernel(&w->word, 8, BPF_CORE_READ(table, open_fds) + w->next);
		if (w->last < w->first)
			bpf_probe_read_kernel(&w->closing_word, 8, BPF_CORE_READ(table, close_on_exec) + w->next);
		w->next++;
		return 0;
	}
	bit = lowest_bit(w->word);
	w->word &= w->word - 1;
	fd = (w->next - 1) * 64 + bit;
	bpf_probe_read_kernel(&file, sizeof(file), BPF_CORE_READ(table, fd) + fd);
	sk = socket_of(file);
	if (!sk)
		return 0;
	closes = w->last < w->first ? w->closing_word >> bit & 1 : fd >= w->first && fd <= w->last;
	answer = visit(sk, w->what | (closes ? WALK_CLOSES : 0), w->who, w->number);
	if (!answer)
		return 0;
	if (w->what == WALK_LIST) {
		struct closing_key key = { .tgid = w->who, .index = w->found };

		/* An address is even. */
		sk |= answer == 2;
		bpf_map_update_elem(&closing, &key, &sk, BPF_ANY);
	}
	w->found++;
	return 0;
}

#ifdef WITHOUT_BPF_LOOP
#define MAX_STEPS 2000

/* In a map, and looked at by a global function, the verifier does not follow it from round to round, and the stack has room.
 * Such kernels do not interrupt a tracing program for another task. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct walk);
} walks SEC(".maps");

__noinline int step_here(void)
{
	__u32 zero = 0;
	struct walk *w = bpf_map_lookup_elem(&walks, &zero);

	return w ? step(0, w) : 1;
}

/* Names a walk that is to be done. */
#define WALK(w)                                                      \
	__u32 w##_zero = 0;                                          \
	struct walk *w = bpf_map_lookup_elem(&walks, &w##_zero);     \
                                                                     \
	if (!w)                                                      \
		return 0
#else
#define WALK(w)               \
	struct walk w##_here; \
	struct walk *w = &w##_here
#endif

/* Which descriptors count as closed: from first to last; those that exec closes where last is less. */
static __always_inline void prepare(struct walk *w, __u32 what, __u64 who, __u32 first, __u32 last)
{
	w->what = what;
	w->who = who;
	w->first = first;
	w->last = last;
	w->number = bpf_ktime_get_ns();
}

static __always_inline __u32 walk(struct task_struct *task, struct walk *w)
{
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
#ifdef WITHOUT_BPF_LOOP
	__u32 i;
#endif

	w->table = table;
	w->words = table ? (BPF_CORE_READ(table, max_fds) + 63) / 64 : 0;
	w->word = 0;
	w->closing_word = 0;
	w->next = 0;
	w->found = 0;
#ifdef WITHOUT_BPF_LOOP
	for (i = 0; i < MAX_STEPS; i++)
		if (step_here())
			break;
	if (i == MAX_STEPS)
		__sync_fetch_and_add(&unfinished, 1);
#else
	/* Before Linux 6.7 the verifier follows a callback once, and takes out of it what its first round does not do. Read over
	 * itself, nothing is known of what is there. */
	bpf_probe_read_kernel(w, sizeof(*w), w);
	bpf_loop(1 << 23, step, w, 0);
#endif
	return w->found;
}

/* The process closes these descriptors, or all of them when it ends. */
static __always_inline int close_range(struct task_struct *task, __u32 first, __u32 last)
{
	WALK(w);

	prepare(w, WALK_COUNT, BPF_CORE_READ(task, tgid), first, last);
	if (walk(task, w) == 0)
		return 0;
	w->what = WALK_LEAVE;
	walk(task, w);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(process_forks, struct task_struct *parent, struct task_struct *child)
{
	__u32 tgid = BPF_CORE_READ(child, tgid);
	__u32 from = BPF_CORE_READ(parent, tgid);
	WALK(w);

	if (tgid == from)
		return 0;
	/* Before it is needed: whoever is left alone with a socket must have a name. */
	remember(tgid, child);
	remember(from, parent);
	prepare(w, WALK_FORK, (__u64)from << 32 | tgid, 0, ~0U);
	if (walk(child, w) == 0)
		bpf_map_delete_elem(&processes, &tgid);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exits, struct task_struct *task)
{
	__u32 tgid = BPF_CORE_READ(task, tgid);

	if (BPF_CORE_READ(task, signal, live.counter) != 0)
		return 0;
	close_range(task, 0, ~0U);
	bpf_map_delete_elem(&processes, &tgid);
	return 0;
}

static __always_inline int execs(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u32 tgid = BPF_CORE_READ(task, tgid);
	struct closing_key key = { .tgid = tgid };
	WALK(w);

	/* Of a call before that did not succeed. */
	bpf_map_delete_elem(&closing, &key);
	prepare(w, WALK_COUNT, tgid, 1, 0);
	if (walk(task, w) == 0)
		return 0;
	w->what = WALK_LIST;
	key.index = walk(task, w);
	bpf_map_delete_elem(&closing, &key);
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_execve")
int execve_begins(void *ctx)
{
	return execs();
}

SEC("tracepoint/syscalls/sys_enter_execveat")
int execveat_begins(void *ctx)
{
	return execs();
}

/* A socket that an exec has closed, unless the kernel has forgotten it altogether. */
static __always_inline void left_behind(__u64 listed, __u32 tgid)
{
	__u64 address = listed & ~1ULL;
	struct socket_state *state = state_of(address);

	if (listed & 1)
		forget_socket(address);
	else if (state)
		leave(state, address, tgid, 0);
}

static __always_inline long leave_one(__u32 index, __u32 tgid)
{
	struct closing_key key = { .tgid = tgid, .index = index };
	__u64 *sk = bpf_map_lookup_elem(&closing, &key);

	if (!sk)
		return 1;
	left_behind(*sk, tgid);
	bpf_map_delete_elem(&closing, &key);
	return 0;
}

#ifdef WITHOUT_BPF_LOOP
__noinline int leave_listed(__u32 index, __u32 tgid)
{
	return leave_one(index, tgid);
}
#else
static __noinline long leave_listed(__u32 index, __u32 *tgid)
{
	return leave_one(index, *tgid);
}
#endif

SEC("tp_btf/sched_process_exec")
int process_has_executed(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u32 tgid = BPF_CORE_READ(task, tgid);
	WALK(w);

#ifdef WITHOUT_BPF_LOOP
	for (__u32 i = 0; i < 1024; i++)
		if (leave_listed(i, tgid))
			break;
#else
	bpf_loop(1 << 20, leave_listed, &tgid, 0);
#endif
	remember(tgid, task);
	prepare(w, WALK_REFRESH, tgid, 0, ~0U);
	walk(task, w);
	return 0;
}
