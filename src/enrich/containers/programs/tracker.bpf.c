// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Sees every mount namespace before anything runs in it: reports it to user space, and puts it into the filters of the runs
// that want containers, undecided, so that nothing is missed while user space finds out whose it is.

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define CLONE_NEWNS 0x00020000
#define MAX_LEVELS 12
#define MAX_NAMES 1024
#define MAX_NAME 256
#define BOTH_NAMES (2 * MAX_NAMES)
#define MAX_FILTERS 8
#define MAX_SUBSYS 16
#define MAX_USERNS 33

/* Kernels differ in these; the flavour that fits is chosen at load. */
struct kernfs_node___6_15 {
	struct kernfs_node *__parent;
};
struct ns_common___6_18 {
	__u64 ns_id;
	refcount_t __ns_ref;
};
struct mnt_namespace___5_10 {
	atomic_t count;
};

enum event_kind {
	EVENT_NEW = 1,	  /* a mount namespace that was not there before */
	EVENT_INIT = 2,	  /* the first process of its pid namespace is in it */
	EVENT_EXEC = 3,	  /* the first program is about to run in it */
	EVENT_ATTACH = 4, /* its first process was moved to another cgroup */
	EVENT_DIED = 5,	  /* its first process is gone */
	EVENT_GONE = 6,	  /* the last process in it is gone, and nothing else holds it */
};

struct cgroup_place {
	__u64 id;
	__u32 hierarchy;
	__u32 levels;
	/* Owners of the directories, from the leaf to the root. */
	__u32 owners[MAX_LEVELS];
};

struct task_event {
	__u64 time; /* nanoseconds since boot */
	__u64 unique; /* tells namespaces with the same inode number apart */
	__u64 start; /* of the process, nanoseconds since boot */
	__u32 kind;
	__u32 mntns;
	__u32 from_mntns; /* where it was made from; 0 for one that was there before */
	__u32 netns;
	__u32 pidns;
	__u32 pidns_parent;
	__u32 tgid;
	__u32 tid;
	__u32 nspid; /* the process's id in its pid namespace */
	__u32 ppid;
	__u32 pidns_level;
	__u32 userns_level;
	__u32 userns_owner; /* of the outermost user namespace that is not the first one */
	__u32 own_cgroup; /* it is in another cgroup than its parent */
	char comm[16];
	char pcomm[16];
};

struct place_event {
	struct task_event task;
	struct cgroup_place v2;
	struct cgroup_place v1;
	/* Of the directories, one after the other, those of v2 first, in the order of their owners. What is reported ends with the last. */
	char names[BOTH_NAMES + MAX_NAME];
};

struct mntns_state {
	__u64 unique;
	/* The cgroups that its first process was last reported in. */
	__u64 v2;
	__u64 v1;
	__u32 v1_hierarchy;
	__u32 init_tgid;
	__u32 execed;
	__u32 unused;
};

/*
 * A program may be interrupted by another one on the same CPU (the task iterator may be, and all on kernels with PREEMPT_RT), but
 * not by itself: each writes into memory of its own.
 */
enum draft_writer {
	WRITER_FORK,
	WRITER_EXEC,
	WRITER_MOVED,
	WRITER_ATTACH,
	WRITER_SCAN,
	WRITERS,
};

struct exit_state {
	__u64 unique;
	__u64 time;
	__u32 mntns;
	__u32 tgid;
};

/* The host's namespaces: those of its first process, see find_host(). */
__u32 host_mntns = 0;
__u32 host_netns = 0;
__u32 host_pidns = 0;

/* What had no room: events, the times of the first (user space sets it to 0) and the last of them, and filters that were full. */
__u64 lost_events = 0;
__u64 lost_since = 0;
__u64 lost_until = 0;
__u64 full_filters = 0;

/* Keeps the types of events in BTF. */
const struct place_event *unused_place_event __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 2 * 1024 * 1024);
} events SEC(".maps");

/* Events are written here, and only what is used of them goes into the buffer. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct place_event);
	__uint(max_entries, WRITERS);
} drafts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, __u32);
	__type(value, struct mntns_state);
	__uint(max_entries, 16384);
} known SEC(".maps");

/* Tasks that are ending: their nsproxy is gone before their files are closed. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, __u32);
	__type(value, struct exit_state);
	__uint(max_entries, 16384);
} exiting SEC(".maps");

/* Mount namespaces that threads were in when they called unshare or setns. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1024);
} leaving SEC(".maps");

struct filter_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u64);
	__type(value, __u32);
	__uint(max_entries, 1024);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, MAX_FILTERS);
	__type(key, __u32);
	__array(values, struct filter_map);
} filters SEC(".maps");

static __always_inline struct mnt_namespace *mnt_ns_of(struct task_struct *task)
{
	return BPF_CORE_READ(task, nsproxy, mnt_ns);
}

/* Never the same for two namespaces while the machine is up. */
static __always_inline __u64 unique_of(struct mnt_namespace *ns)
{
	struct ns_common___6_18 *common = (void *)&ns->ns;

	if (bpf_core_field_exists(common->ns_id))
		return BPF_CORE_READ(common, ns_id);
	if (bpf_core_field_exists(ns->seq))
		return BPF_CORE_READ(ns, seq);
	return (__u64)ns;
}

static __always_inline int refs_of(struct mnt_namespace *ns)
{
	struct ns_common___6_18 *common = (void *)&ns->ns;
	struct mnt_namespace___5_10 *old = (void *)ns;
	int count = 0;

	if (bpf_core_field_exists(common->__ns_ref))
		bpf_core_read(&count, sizeof(count), &common->__ns_ref);
	else if (bpf_core_field_exists(old->count))
		bpf_core_read(&count, sizeof(count), &old->count);
	else if (bpf_core_field_exists(ns->ns.count))
		bpf_core_read(&count, sizeof(count), &ns->ns.count);
	return count;
}

static __always_inline struct kernfs_node *parent_of(struct kernfs_node *node)
{
	struct kernfs_node___6_15 *renamed = (void *)node;

	if (bpf_core_field_exists(renamed->__parent))
		return BPF_CORE_READ(renamed, __parent);
	return BPF_CORE_READ(node, parent);
}

/* Writes a cgroup down, the names of its directories from names + at on; returns where they end. */
static __noinline __u64 write_place(struct cgroup *cgrp, struct cgroup_place *place, char *names, __u64 at)
{
	struct kernfs_node *node = BPF_CORE_READ(cgrp, kn);
	__u64 limit = at + MAX_NAMES;
	int i;

	place->id = BPF_CORE_READ(node, id);
	place->hierarchy = BPF_CORE_READ(cgrp, root, hierarchy_id);
	place->levels = 0;
	for (i = 0; i < MAX_LEVELS; i++) {
		struct kernfs_node *parent = parent_of(node);
		struct kernfs_iattrs *attrs;
		__u32 owner = 0;
		long length;

		if (!parent || at >= limit || at >= BOTH_NAMES)
			break;
		/* Only a directory that was given to somebody has attributes of its own. */
		attrs = BPF_CORE_READ(node, iattr);
		if (attrs)
			owner = BPF_CORE_READ(attrs, ia_uid.val);
		place->owners[i] = owner;
		barrier_var(at);
		at &= BOTH_NAMES - 1;
		length = bpf_probe_read_kernel_str(names + at, MAX_NAME, BPF_CORE_READ(node, name));
		if (length < 0)
			break;
		at += length;
		place->levels = i + 1;
		node = parent;
	}
	return at;
}

/* The deepest of a task's cgroups in the v1 hierarchies; sets *at to its place among the controllers. */
static __noinline struct cgroup *v1_cgroup(struct css_set *set, int *at)
{
	struct cgroup *deepest = NULL;
	int most = 0;
	int i;

	for (i = 0; i < MAX_SUBSYS; i++) {
		struct cgroup_subsys_state *state = NULL;
		struct cgroup *cgrp;
		int level;

		if (i * sizeof(state) >= bpf_core_field_size(set->subsys))
			break;
		bpf_core_read(&state, sizeof(state), (void *)set + bpf_core_field_offset(struct css_set, subsys) + i * sizeof(state));
		if (!state)
			continue;
		cgrp = BPF_CORE_READ(state, cgroup);
		level = BPF_CORE_READ(cgrp, level);
		if (level <= most || BPF_CORE_READ(cgrp, root, hierarchy_id) == 0)
			continue;
		deepest = cgrp;
		most = level;
		*at = i;
	}
	return deepest;
}

static __always_inline struct cgroup *subsys_cgroup(struct css_set *set, int at)
{
	struct cgroup_subsys_state *state = NULL;

	bpf_core_read(&state, sizeof(state), (void *)set + bpf_core_field_offset(struct css_set, subsys) + at * sizeof(state));
	return BPF_CORE_READ(state, cgroup);
}

static __noinline void write_task(struct task_struct *task, struct task_event *event)
{
	struct task_struct *parent = BPF_CORE_READ(task, real_parent);
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	struct nsproxy *nsproxy = BPF_CORE_READ(task, nsproxy);
	struct mnt_namespace *mnt = BPF_CORE_READ(nsproxy, mnt_ns);
	struct user_namespace *user = BPF_CORE_READ(mnt, user_ns);
	struct pid *pid = BPF_CORE_READ(leader, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);
	struct upid last = {};
	__u32 owner = 0;
	int i;

	event->time = bpf_ktime_get_boot_ns();
	event->unique = unique_of(mnt);
	event->start = BPF_CORE_READ(leader, start_boottime);
	event->mntns = BPF_CORE_READ(mnt, ns.inum);
	event->netns = BPF_CORE_READ(nsproxy, net_ns, ns.inum);
	bpf_core_read(&last, sizeof(last), (void *)pid + bpf_core_field_offset(struct pid, numbers) + level * sizeof(last));
	event->nspid = last.nr;
	event->pidns = BPF_CORE_READ(last.ns, ns.inum);
	event->pidns_parent = BPF_CORE_READ(last.ns, parent, ns.inum);
	event->pidns_level = level;
	event->tgid = BPF_CORE_READ(task, tgid);
	event->tid = BPF_CORE_READ(task, pid);
	event->ppid = BPF_CORE_READ(parent, tgid);
	event->userns_level = BPF_CORE_READ(user, level);
	for (i = 0; i < MAX_USERNS; i++) {
		struct user_namespace *above = BPF_CORE_READ(user, parent);

		if (!above)
			break;
		owner = BPF_CORE_READ(user, owner.val);
		user = above;
	}
	event->userns_owner = owner;
	event->own_cgroup = 0;
	bpf_core_read(event->comm, sizeof(event->comm), &leader->comm);
	bpf_core_read(event->pcomm, sizeof(event->pcomm), &parent->comm);
}

/*
 * The functions that are not static take numbers only: the verifier looks at such a function once for each program, and at a static one
 * anew for each call. That is half of what loading takes.
 */

static __noinline void lose(void)
{
	__u64 now = bpf_ktime_get_boot_ns();

	if (!lost_since)
		lost_since = now;
	lost_until = now;
	__sync_fetch_and_add(&lost_events, 1);
}

/*
 * Reports a task with its cgroups; they are written down in the state of its namespace, where that is known. Whatever had no room is
 * not taken for reported: the next event of the namespace tries again, and so does a scan. `how` is a kind and a writer.
 */
__noinline int report(__u64 address, __u32 how, __u32 from_mntns, __u32 inode)
{
	struct task_struct *task = (void *)address;
	struct mntns_state *state;
	struct task_struct *parent = BPF_CORE_READ(task, real_parent);
	struct css_set *set = BPF_CORE_READ(task, cgroups);
	struct css_set *parent_set = BPF_CORE_READ(parent, cgroups);
	struct cgroup *v2 = BPF_CORE_READ(set, dfl_cgrp);
	__u32 writer = how >> 8, kind = how & 0xff;
	struct place_event *event;
	struct cgroup *v1;
	__u64 length;
	int at = 0;

	event = bpf_map_lookup_elem(&drafts, &writer);
	if (!event)
		return 0;
	write_task(task, &event->task);
	event->task.kind = kind;
	event->task.from_mntns = from_mntns;
	length = write_place(v2, &event->v2, event->names, 0);
	v1 = v1_cgroup(set, &at);
	event->v1.levels = 0;
	event->v1.id = 0;
	event->v1.hierarchy = 0;
	if (v1) {
		length = write_place(v1, &event->v1, event->names, length);
		event->task.own_cgroup = v1 != subsys_cgroup(parent_set, at);
	}
	if (v2 != BPF_CORE_READ(parent_set, dfl_cgrp))
		event->task.own_cgroup = 1;
	barrier_var(length);
	if (length > sizeof(event->names))
		length = sizeof(event->names);
	state = bpf_map_lookup_elem(&known, &inode);
	if (bpf_ringbuf_output(&events, event, offsetof(struct place_event, names) + length, 0)) {
		lose();
		if (kind == EVENT_NEW)
			bpf_map_delete_elem(&known, &inode);
		else if (state && kind == EVENT_INIT)
			state->init_tgid = 0;
		else if (state && kind == EVENT_EXEC)
			state->execed = 0;
		return 0;
	}
	if (state) {
		state->v2 = event->v2.id;
		state->v1 = event->v1.id;
		state->v1_hierarchy = event->v1.hierarchy;
	}
	return 0;
}

__noinline int report_short(__u64 address, __u32 kind)
{
	struct task_struct *task = (void *)address;
	struct task_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		lose();
		return 0;
	}
	write_task(task, event);
	event->kind = kind;
	event->from_mntns = 0;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

__noinline int let_through(__u64 mntns)
{
	__u32 undecided = 1;
	__u32 i;

	for (i = 0; i < MAX_FILTERS; i++) {
		__u32 slot = i;
		void *filter = bpf_map_lookup_elem(&filters, &slot);

		if (filter && bpf_map_update_elem(filter, &mntns, &undecided, BPF_ANY))
			__sync_fetch_and_add(&full_filters, 1);
	}
	return 0;
}

/* Makes sure that the namespace of a task is known; returns its state, or NULL where its report had no room. */
static __always_inline struct mntns_state *look(struct task_struct *task, struct mnt_namespace *ns, __u32 inode, __u32 from, __u32 writer)
{
	struct mntns_state *state = bpf_map_lookup_elem(&known, &inode);
	struct mntns_state fresh = {};

	fresh.unique = unique_of(ns);
	if (state && state->unique == fresh.unique)
		return state;
	/* The state first, the filters after it: forget() depends on this order. */
	bpf_map_update_elem(&known, &inode, &fresh, BPF_ANY);
	let_through(inode);
	report((__u64)task, EVENT_NEW | writer << 8, from, inode);
	return bpf_map_lookup_elem(&known, &inode);
}

static __always_inline __u32 inode_of(struct mnt_namespace *ns)
{
	return BPF_CORE_READ(ns, ns.inum);
}

static __always_inline void look_for_init(struct task_struct *task, struct mntns_state *state, __u32 inode, __u32 writer)
{
	struct upid last = {};
	struct pid *pid;
	__u32 level;

	if (!state || state->init_tgid)
		return;
	pid = BPF_CORE_READ(task, thread_pid);
	level = BPF_CORE_READ(pid, level);
	if (level == 0)
		return;
	bpf_core_read(&last, sizeof(last), (void *)pid + bpf_core_field_offset(struct pid, numbers) + level * sizeof(last));
	if (last.nr != 1)
		return;
	state->init_tgid = BPF_CORE_READ(task, tgid);
	report((__u64)task, EVENT_INIT | writer << 8, 0, inode);
}

/* clone, clone3 (into a cgroup too) and fork: before the new task's first instruction. */
SEC("raw_tp/sched_process_fork")
int forked(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *parent = (void *)ctx->args[0];
	struct task_struct *child = (void *)ctx->args[1];
	struct mnt_namespace *ns = mnt_ns_of(child);
	__u32 inode = inode_of(ns);
	struct mntns_state *state;

	if (inode == 0 || inode == host_mntns)
		return 0;
	state = look(child, ns, inode, inode_of(mnt_ns_of(parent)), WRITER_FORK);
	look_for_init(child, state, inode, WRITER_FORK);
	return 0;
}

SEC("raw_tp/sched_process_exec")
int execed(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)ctx->args[0];
	struct mnt_namespace *ns = mnt_ns_of(task);
	__u32 inode = inode_of(ns);
	struct mntns_state *state;

	if (inode == 0 || inode == host_mntns)
		return 0;
	state = look(task, ns, inode, inode, WRITER_EXEC);
	if (!state || state->execed)
		return 0;
	state->execed = 1;
	if (!state->init_tgid)
		state->init_tgid = BPF_CORE_READ(task, tgid);
	report((__u64)task, EVENT_EXEC | WRITER_EXEC << 8, 0, inode);
	return 0;
}

SEC("raw_tp/sched_process_exit")
int exited(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)ctx->args[0];
	struct mnt_namespace *ns = mnt_ns_of(task);
	__u32 inode = inode_of(ns);
	struct mntns_state *state;
	struct signal_struct *signal;
	struct exit_state exit = {};
	struct nsproxy *nsproxy;
	__u32 tid, live = 0, sharers = 0;

	if (inode == 0 || inode == host_mntns)
		return 0;
	tid = BPF_CORE_READ(task, pid);
	exit.unique = unique_of(ns);
	exit.time = bpf_ktime_get_boot_ns();
	exit.mntns = inode;
	exit.tgid = BPF_CORE_READ(task, tgid);
	bpf_map_update_elem(&exiting, &tid, &exit, BPF_ANY);

	nsproxy = BPF_CORE_READ(task, nsproxy);
	bpf_core_read(&sharers, sizeof(sharers), &nsproxy->count);
	if (sharers == 1 && refs_of(ns) == 1) {
		report_short((__u64)task, EVENT_GONE);
		return 0;
	}
	state = bpf_map_lookup_elem(&known, &inode);
	if (!state || state->init_tgid != exit.tgid)
		return 0;
	signal = BPF_CORE_READ(task, signal);
	bpf_core_read(&live, sizeof(live), &signal->live);
	if (live == 0)
		report_short((__u64)task, EVENT_DIED);
	return 0;
}

SEC("tp/syscalls/sys_enter_unshare")
int unshare_entered(struct trace_event_raw_sys_enter *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u32 tid = bpf_get_current_pid_tgid();
	__u32 inode = inode_of(mnt_ns_of(task));

	if (ctx->args[0] & CLONE_NEWNS)
		bpf_map_update_elem(&leaving, &tid, &inode, BPF_ANY);
	return 0;
}

/*
 * Also attached to sys_exit_setns: whoever is led into a namespace that nobody knows has not made it, so where it came from
 * does not matter. Each tracepoint that is attached costs two waits for all CPUs when it is detached.
 */
SEC("tp/syscalls/sys_exit_unshare")
int moved(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u32 tid = bpf_get_current_pid_tgid();
	struct mnt_namespace *ns = mnt_ns_of(task);
	__u32 *before = bpf_map_lookup_elem(&leaving, &tid);
	__u32 inode = inode_of(ns);
	__u32 from = inode;

	if (before) {
		from = *before;
		bpf_map_delete_elem(&leaving, &tid);
	}
	if (inode == 0 || inode == host_mntns)
		return 0;
	look_for_init(task, look(task, ns, inode, from, WRITER_MOVED), inode, WRITER_MOVED);
	return 0;
}

SEC("raw_tp/cgroup_attach_task")
int attached(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)ctx->args[2];
	struct mnt_namespace *ns = mnt_ns_of(task);
	__u32 inode = inode_of(ns);
	struct mntns_state *state;
	struct css_set *set;
	struct cgroup *v1;
	__u64 v1_id = 0;
	int at = 0;

	if (inode == 0 || inode == host_mntns)
		return 0;
	state = look(task, ns, inode, inode, WRITER_ATTACH);
	if (!state || (state->init_tgid && state->init_tgid != BPF_CORE_READ(task, tgid)))
		return 0;
	/* With v1 it is moved in a dozen hierarchies, one after the other, and most of them change nothing in what is reported. */
	set = BPF_CORE_READ(task, cgroups);
	v1 = v1_cgroup(set, &at);
	if (v1)
		v1_id = BPF_CORE_READ(v1, kn, id);
	if (state->v2 == BPF_CORE_READ(set, dfl_cgrp, kn, id) && state->v1 == v1_id &&
	    (!v1 || state->v1_hierarchy == BPF_CORE_READ(v1, root, hierarchy_id)))
		return 0;
	report((__u64)task, EVENT_ATTACH | WRITER_ATTACH << 8, 0, inode);
	return 0;
}

/* What runs already. */
SEC("iter/task")
int scan(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct mntns_state *state;
	struct mnt_namespace *ns;
	__u32 inode;

	if (!task || BPF_CORE_READ(task, pid) != BPF_CORE_READ(task, tgid))
		return 0;
	/* The same task, as a number. */
	task = BPF_CORE_READ(task, group_leader);
	ns = mnt_ns_of(task);
	inode = inode_of(ns);
	if (inode == 0 || inode == host_mntns)
		return 0;
	state = look(task, ns, inode, 0, WRITER_SCAN);
	look_for_init(task, state, inode, WRITER_SCAN);
	if (state)
		state->execed = 1;
	return 0;
}

/* Finds the host's namespaces, wherever the caller runs: the outermost pid namespace has its first process. Never attached: user space runs it. */
SEC("raw_tp/find_host")
int find_host(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct pid_namespace *pidns = BPF_CORE_READ(task, nsproxy, pid_ns_for_children);
	int i;

	for (i = 0; i < MAX_USERNS; i++) {
		struct pid_namespace *above = BPF_CORE_READ(pidns, parent);

		if (!above)
			break;
		pidns = above;
	}
	task = BPF_CORE_READ(pidns, child_reaper);
	if (!task)
		return 0;
	host_mntns = inode_of(mnt_ns_of(task));
	host_netns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
	host_pidns = BPF_CORE_READ(pidns, ns.inum);
	return 1;
}

/*
 * Takes a namespace out of a filter (args[2], or all from MAX_FILTERS on: then it is forgotten as well), unless its number
 * belongs to another namespace by now. Never attached: user space runs it.
 */
SEC("raw_tp/forget")
int forget(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 inode = ctx->args[0];
	__u64 unique = ctx->args[1];
	__u32 only = ctx->args[2];
	struct mntns_state *state = bpf_map_lookup_elem(&known, &inode);
	__u64 key = inode;
	__u32 undecided = 1;
	__u32 i;

	if (state && state->unique != unique)
		return 0;
	if (state && only >= MAX_FILTERS)
		bpf_map_delete_elem(&known, &inode);
	for (i = 0; i < MAX_FILTERS; i++) {
		__u32 slot = i;
		void *filter;

		if (only < MAX_FILTERS && only != i)
			continue;
		filter = bpf_map_lookup_elem(&filters, &slot);
		if (!filter)
			continue;
		bpf_map_delete_elem(filter, &key);
		state = bpf_map_lookup_elem(&known, &inode);
		/* One with the same number came in the meantime, and what was deleted may have been its entry. */
		if (state && state->unique != unique)
			bpf_map_update_elem(filter, &key, &undecided, BPF_ANY);
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
