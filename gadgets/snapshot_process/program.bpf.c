// SPDX-License-Identifier: GPL-2.0-only
//
// Shows the processes that are there.

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/types.h>

/** Show threads too. */
const volatile bool show_threads = false;
GADGET_PARAM(show_threads);

GADGET_ITER(processes, gadget_process, snapshot_process);

SEC("iter/task")
int snapshot_process(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct gadget_process process = {};
	struct task_struct *parent;

	if (!task || (!show_threads && task->tgid != task->pid))
		return 0;

	// An iterator may read what it goes over without helpers; what that points to may have gone.
	process.pid = task->tgid;
	process.tid = task->pid;
	__builtin_memcpy(process.comm, task->comm, sizeof(process.comm));
	process.creds.uid = BPF_CORE_READ(task, cred, euid.val);
	process.creds.gid = BPF_CORE_READ(task, cred, egid.val);
	// 0 of a task that is about to be gone.
	process.mntns_id = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
	if (gadget_should_discard_data(process.mntns_id, process.pid, process.tid, process.comm, process.creds.uid,
				       process.creds.gid))
		return 0;

	parent = BPF_CORE_READ(task, real_parent);
	if (parent) {
		process.parent.pid = BPF_CORE_READ(parent, tgid);
		process.parent.tid = BPF_CORE_READ(parent, pid);
		BPF_CORE_READ_INTO(&process.parent.comm, parent, comm);
	}
	bpf_seq_write(ctx->meta->seq, &process, sizeof(process));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
