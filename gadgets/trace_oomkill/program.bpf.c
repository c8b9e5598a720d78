// SPDX-License-Identifier: GPL-2.0-only
//
// Shows each process that the kernel kills because memory has run out, and which process asked for memory.
//
// The tracepoint mark_victim tells of each victim. What the kernel knew when it chose (how much memory there was in all, and
// of what) only its function oom_kill_process has: where that can be traced, both are put together.

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include <gadget/buffer.h>
#include <gadget/common.h>
#include <gadget/core_fixes.bpf.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/regs.h>
#include <gadget/types.h>

// Whose memory has run out (the kernel's enum oom_constraint plus one).
enum oom_scope {
	scope_unknown,
	whole_machine,
	cpuset_nodes,
	policy_nodes,
	cgroup_limit,
};

struct event {
	gadget_timestamp timestamp_raw;
	// Before that of fprocess: the event belongs to the container of the victim.
	gadget_mntns_id tmntns_id;
	struct gadget_process fprocess;

	gadget_pid tpid;
	gadget_comm tcomm[TASK_COMM_LEN];
	gadget_uid tuid;
	gadget_gid tgid;
	gadget_ppid tppid;
	__s32 oom_score_adj;
	__u64 pages;
	__u64 total_vm;
	__u64 anon_rss;
	__u64 file_rss;
	__u64 shmem_rss;
	gadget_bytes pgtables_raw;
	enum oom_scope scope_raw;
	__s32 order;
};

GADGET_TRACER_MAP(events, 1024 * 64);
GADGET_TRACER(oomkill, events, event);

// What oom_kill_process was called with, by the thread that is in it.
struct choice {
	__u64 pages;
	__s32 order;
	enum oom_scope scope;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct choice);
} choices SEC(".maps");

// Until 6.1 a plain array in a struct; per-CPU counters since, of which the kernel, too, prints the common part.
struct mm_rss_stat___until_6_1 {
	atomic_long_t count[4];
} __attribute__((preserve_access_index));

struct mm_struct___until_6_1 {
	struct mm_rss_stat___until_6_1 rss_stat;
} __attribute__((preserve_access_index));

static __always_inline __u64 pages_of(struct mm_struct *mm, int member)
{
	struct mm_struct___until_6_1 *old = (void *)mm;
	__s64 count;

	if (bpf_core_type_exists(struct mm_rss_stat___until_6_1))
		count = BPF_CORE_READ(old, rss_stat.count[member].counter);
	else
		count = BPF_CORE_READ(mm, rss_stat[member].count);
	return count < 0 ? 0 : count;
}

static __always_inline void show(void *ctx, struct task_struct *victim, const struct choice *choice)
{
	struct task_struct *leader = BPF_CORE_READ(victim, group_leader);
	struct mm_struct *mm = BPF_CORE_READ(victim, mm);
	struct event *event;

	event = gadget_reserve_buf(&events, sizeof(*event));
	if (!event)
		return;
	__builtin_memset(event, 0, sizeof(*event));
	event->tmntns_id = BPF_CORE_READ(victim, nsproxy, mnt_ns, ns.inum);
	event->tpid = BPF_CORE_READ(victim, tgid);
	BPF_CORE_READ_INTO(&event->tcomm, victim, comm);
	event->tuid = BPF_CORE_READ(victim, cred, uid.val);
	event->tgid = BPF_CORE_READ(victim, cred, gid.val);
	if (gadget_should_discard_data(event->tmntns_id, event->tpid, BPF_CORE_READ(victim, pid), event->tcomm, event->tuid,
				       event->tgid)) {
		gadget_discard_buf(event);
		return;
	}
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	gadget_process_populate(&event->fprocess);
	event->tppid = BPF_CORE_READ(leader, real_parent, tgid);
	event->oom_score_adj = BPF_CORE_READ(victim, signal, oom_score_adj);
	if (mm) {
		event->total_vm = BPF_CORE_READ(mm, total_vm);
		event->file_rss = pages_of(mm, MM_FILEPAGES);
		event->anon_rss = pages_of(mm, MM_ANONPAGES);
		event->shmem_rss = pages_of(mm, MM_SHMEMPAGES);
		event->pgtables_raw = BPF_CORE_READ(mm, pgtables_bytes.counter);
	}
	event->order = -1;
	if (choice) {
		event->pages = choice->pages;
		event->order = choice->order;
		event->scope_raw = choice->scope;
	}
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
}

static __always_inline void fill_choice(struct choice *choice, struct oom_control *oc)
{
	choice->pages = BPF_CORE_READ(oc, totalpages);
	choice->order = BPF_CORE_READ(oc, order);
	choice->scope = BPF_CORE_READ(oc, constraint) + 1;
}

static __always_inline int remember(struct oom_control *oc)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct choice choice = {};

	fill_choice(&choice, oc);
	bpf_map_update_elem(&choices, &tid, &choice, BPF_ANY);
	return 0;
}

SEC("?fentry/oom_kill_process")
int BPF_PROG(choice_fentry, struct oom_control *oc)
{
	return remember(oc);
}

SEC("?kprobe/oom_kill_process")
int choice_kprobe(struct pt_regs *ctx)
{
	return remember((void *)gadget_regs_arg(ctx, 0));
}

struct trace_event_raw_mark_victim___with_comm {
	__u32 __data_loc_comm;
} __attribute__((preserve_access_index));

SEC("?raw_tp/mark_victim")
int victim_marked(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 tid = bpf_get_current_pid_tgid();

	// Before Linux 6.9, and the stable kernels that took it over, there is only a pid: don't load.
	if (!bpf_core_field_exists(((struct trace_event_raw_mark_victim___with_comm *)0)->__data_loc_comm))
		bpf_core_unreachable();
	show(ctx, (struct task_struct *)ctx->args[0], bpf_map_lookup_elem(&choices, &tid));
	return 0;
}

static __always_inline int show_chosen(void *ctx, struct oom_control *oc)
{
	struct choice choice = {};

	fill_choice(&choice, oc);
	show(ctx, BPF_CORE_READ(oc, chosen), &choice);
	return 0;
}

SEC("?fentry/oom_kill_process")
int BPF_PROG(victim_fentry, struct oom_control *oc)
{
	return show_chosen(ctx, oc);
}

SEC("?kprobe/oom_kill_process")
int victim_kprobe(struct pt_regs *ctx)
{
	return show_chosen(ctx, (void *)gadget_regs_arg(ctx, 0));
}

char LICENSE[] SEC("license") = "GPL";
