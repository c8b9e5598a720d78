// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause
//
// Filters that every gadget has in common, as parameters: --pid, --tid, --uid, --gid, --comm and the containers.
// A filter that is not set costs nothing: the verifier knows the parameters and removes the comparison.
// Words of user space: pid is a process (the kernel's tgid), tid a thread (the kernel's pid). Kernel: 5.4.

#ifndef GADGET_FILTER_H
#define GADGET_FILTER_H

#include <bpf/bpf_helpers.h>
#include <gadget/macros.h>
#include <gadget/types.h>
#include <gadget/mntns_filter.h>
#ifndef GADGET_TYPE_NETWORKING
#include <gadget/mntns.h>
#endif

/** The user or group id that means "any". */
#define GADGET_INVALID_ID ((gadget_uid)-1)

/** Show only this process; 0 is any. */
const volatile gadget_pid targ_pid = 0;
GADGET_PARAM(targ_pid);

/** Show only this thread; 0 is any. */
const volatile gadget_tid targ_tid = 0;
GADGET_PARAM(targ_tid);

/** Show only this user; GADGET_INVALID_ID is any. */
const volatile gadget_uid targ_uid = GADGET_INVALID_ID;
GADGET_PARAM(targ_uid);

/** Show only this group; GADGET_INVALID_ID is any. */
const volatile gadget_gid targ_gid = GADGET_INVALID_ID;
GADGET_PARAM(targ_gid);

/** Show only tasks of this name; an empty one is any. */
const volatile gadget_comm targ_comm[TASK_COMM_LEN] = {};
GADGET_PARAM(targ_comm);

/** True when --pid names another process. */
static __always_inline bool gadget_should_discard_pid(gadget_pid pid)
{
	return targ_pid != 0 && targ_pid != pid;
}

/** True when --tid names another thread. */
static __always_inline bool gadget_should_discard_tid(gadget_tid tid)
{
	return targ_tid != 0 && targ_tid != tid;
}

/** True when --uid names another user. */
static __always_inline bool gadget_should_discard_uid(gadget_uid uid)
{
	return targ_uid != GADGET_INVALID_ID && targ_uid != uid;
}

/** True when --gid names another group. */
static __always_inline bool gadget_should_discard_gid(gadget_gid gid)
{
	return targ_gid != GADGET_INVALID_ID && targ_gid != gid;
}

/** True when --comm names another task. Up to 16 comparisons; what follows the NUL doesn't count. */
static __always_inline bool gadget_should_discard_comm(gadget_comm comm[TASK_COMM_LEN])
{
	if (targ_comm[0] == '\0')
		return false;
	for (int i = 0; i < TASK_COMM_LEN; i++) {
		if (comm[i] != targ_comm[i])
			return true;
		if (comm[i] == '\0')
			break;
	}
	return false;
}

/** True when any filter refuses an event with these values. */
static __always_inline bool gadget_should_discard_data(gadget_mntns_id mntns_id, gadget_pid pid, gadget_tid tid,
						       gadget_comm comm[TASK_COMM_LEN], gadget_uid uid, gadget_gid gid)
{
	return gadget_should_discard_mntns_id(mntns_id) || gadget_should_discard_pid(pid) ||
	       gadget_should_discard_tid(tid) || gadget_should_discard_uid(uid) || gadget_should_discard_gid(gid) ||
	       gadget_should_discard_comm(comm);
}

#ifndef GADGET_TYPE_NETWORKING
/** True when any filter refuses the current task. Reads only what the filters that are set need. */
static __always_inline bool gadget_should_discard_data_current(void)
{
	if (gadget_filter_by_mntns && gadget_should_discard_mntns_id(gadget_get_current_mntns_id()))
		return true;

	if (targ_pid != 0 || targ_tid != 0) {
		__u64 pid_tgid = bpf_get_current_pid_tgid();

		if (gadget_should_discard_pid(pid_tgid >> 32) || gadget_should_discard_tid((__u32)pid_tgid))
			return true;
	}

	if (targ_uid != GADGET_INVALID_ID || targ_gid != GADGET_INVALID_ID) {
		__u64 uid_gid = bpf_get_current_uid_gid();

		if (gadget_should_discard_uid((__u32)uid_gid) || gadget_should_discard_gid(uid_gid >> 32))
			return true;
	}

	if (targ_comm[0] != '\0') {
		gadget_comm comm[TASK_COMM_LEN];

		bpf_get_current_comm(&comm, sizeof(comm));
		return gadget_should_discard_comm(comm);
	}
	return false;
}
#endif

/**
 * True when any filter refuses the owner of a packet's socket.
 *
 * @skb_val what gadget_socket_lookup() found; NULL (owner unknown) is refused as soon as any filter is set
 */
static __always_inline bool gadget_should_discard_data_by_skb(struct gadget_socket_value *skb_val)
{
	if (!skb_val)
		return gadget_filter_by_mntns || targ_pid != 0 || targ_tid != 0 || targ_uid != GADGET_INVALID_ID ||
		       targ_gid != GADGET_INVALID_ID || targ_comm[0] != '\0';

	return gadget_should_discard_data(skb_val->mntns, skb_val->pid_tgid >> 32, (__u32)skb_val->pid_tgid,
					  skb_val->task, (__u32)skb_val->uid_gid, skb_val->uid_gid >> 32);
}

#endif
