// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Tells user space about network namespaces that processes enter and leave.

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define ENTERED 1
#define LEFT 2

struct namespace_event {
	__u32 netns;
	__u32 tid;
	__u32 kind;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} events SEC(".maps");

/* Namespaces that were told; user space takes those away that are gone. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u32);
} told SEC(".maps");

/* The host's own never goes away. */
const volatile __u32 host_netns;
/* How many events the buffer had no room for: then everything is looked at anew. */
__u64 lost;

static __always_inline void tell(__u32 netns, __u32 tid, __u32 kind)
{
	struct namespace_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		__sync_fetch_and_add(&lost, 1);
		return;
	}
	event->netns = netns;
	event->tid = tid;
	event->kind = kind;
	event->pad = 0;
	bpf_ringbuf_submit(event, 0);
}

static __always_inline void entered(__u32 netns, struct task_struct *task)
{
	__u32 one = 1;

	if (netns == 0 || bpf_map_lookup_elem(&told, &netns))
		return;
	bpf_map_update_elem(&told, &netns, &one, BPF_ANY);
	tell(netns, BPF_CORE_READ(task, pid), ENTERED);
}

SEC("tp_btf/sched_process_exec")
int executed(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	entered(BPF_CORE_READ(task, nsproxy, net_ns, ns.inum), task);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(forked, struct task_struct *parent, struct task_struct *child)
{
	entered(BPF_CORE_READ(child, nsproxy, net_ns, ns.inum), child);
	return 0;
}

/* A process that neither forks nor executes after it got there has to make a socket before it can send anything. */
SEC("cgroup/sock_create")
int socket_made(struct bpf_sock *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	entered(BPF_CORE_READ((struct sock *)ctx, __sk_common.skc_net.net, ns.inum), task);
	return 1;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(exited, struct task_struct *task)
{
	__u32 netns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);

	if (netns == 0 || netns == host_netns || BPF_CORE_READ(task, pid) != BPF_CORE_READ(task, tgid))
		return 0;
	if (bpf_map_lookup_elem(&told, &netns))
		tell(netns, BPF_CORE_READ(task, pid), LEFT);
	return 0;
}

/* Where every thread is now. */
SEC("iter/task")
int where_tasks_are(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct namespace_event event = {};

	if (!task)
		return 0;
	event.netns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
	event.tid = BPF_CORE_READ(task, pid);
	/* Most threads are where their process is. */
	if (event.netns == 0 || (task->pid != task->tgid &&
				 BPF_CORE_READ(task, group_leader, nsproxy, net_ns, ns.inum) == event.netns))
		return 0;
	bpf_seq_write(ctx->meta->seq, &event, sizeof(event));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
