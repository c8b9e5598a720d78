// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause
//
// Who did it: the current task and its parent.

#ifndef GADGET_COMMON_H
#define GADGET_COMMON_H

#include <vmlinux.h>
#include <gadget/types.h>
#include <gadget/mntns.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/**
 * Fills every byte of *p with the current task and its parent. About ten reads of kernel memory. Kernel: 5.4.
 *
 * Ids are those of the first pid namespace. The parent is real_parent: the one that forked, not a debugger; all zero
 * where there is none.
 */
static __always_inline void gadget_process_populate(struct gadget_process *p)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct task_struct *parent = BPF_CORE_READ(task, real_parent);
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	__u64 uid_gid = bpf_get_current_uid_gid();

	bpf_get_current_comm(p->comm, sizeof(p->comm));
	p->pid = pid_tgid >> 32;
	p->tid = (__u32)pid_tgid;
	p->mntns_id = gadget_get_current_mntns_id();
	p->creds.uid = (__u32)uid_gid;
	p->creds.gid = uid_gid >> 32;

	if (!parent) {
		__builtin_memset(&p->parent, 0, sizeof(p->parent));
		return;
	}
	if (BPF_CORE_READ_INTO(&p->parent.comm, parent, comm))
		__builtin_memset(p->parent.comm, 0, sizeof(p->parent.comm));
	p->parent.pid = BPF_CORE_READ(parent, tgid);
	p->parent.tid = BPF_CORE_READ(parent, pid);
}

#endif
