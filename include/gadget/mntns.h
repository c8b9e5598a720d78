// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause
//
// The mount namespace of the current task, by which user space knows its container.
// Not for socket filters: they run for a packet, not for a task.

#ifndef GADGET_MNTNS_H
#define GADGET_MNTNS_H

#include <gadget/types.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/** The inode number of the current task's mount namespace; 0 in a task that is about to be gone. Three reads. Kernel: 5.4. */
static __always_inline gadget_mntns_id gadget_get_current_mntns_id(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	return BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
}

/** The older name of gadget_get_current_mntns_id(): costs the same. Kernel: 5.4. */
static __always_inline gadget_mntns_id gadget_get_mntns_id(void)
{
	return gadget_get_current_mntns_id();
}

#endif
