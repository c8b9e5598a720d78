// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause
//
// Tells the program that runs the gadget from all others, for gadgets whose events would make it cause more of them. Needs
// vmlinux.h. Kernel: 5.4.

#ifndef GADGET_SELF_H
#define GADGET_SELF_H

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <gadget/libbpf_compat.h>
#include <gadget/types.h>

/** The process that runs the gadget, as it knows itself, and the inode of its pid namespace; user space sets them. */
const volatile gadget_pid gadget_self_pid = 0;
const volatile __u32 gadget_self_pidns = 0;

/** Whether the current task is of the process that runs the gadget. Six reads. */
static __always_inline bool gadget_is_self(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct pid *pid = BPF_CORE_READ(task, group_leader, thread_pid);
	// An array without a size since 6.5, of one element before.
	struct upid *own = (void *)&pid->numbers;

	if (!gadget_self_pid)
		return false;
	// The last one is what the process itself sees.
	own = (void *)own + (BPF_CORE_READ(pid, level) & 31) * bpf_core_type_size(struct upid);
	return BPF_CORE_READ(own, nr) == gadget_self_pid && BPF_CORE_READ(own, ns, ns.inum) == gadget_self_pidns;
}

#endif
