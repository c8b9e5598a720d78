// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause
//
// Keeps events of containers that nobody asked for out of the buffer. Kernel: 5.4.

#ifndef GADGET_MNTNS_FILTER_H
#define GADGET_MNTNS_FILTER_H

#include <gadget/types.h>

#include <bpf/bpf_helpers.h>
#include <gadget/libbpf_compat.h>

/** Set by user space before the gadget is loaded; while false the verifier removes the filter. */
const volatile bool gadget_filter_by_mntns = false;

/** The mount namespaces that are wanted; user space puts a map of its own here. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, gadget_mntns_id);
	__type(value, __u32);
	__uint(max_entries, 1024);
} gadget_mntns_filter_map SEC(".maps");

/** True when events of this mount namespace are not wanted. One lookup in a hash map. Kernel: 5.4. */
static __always_inline bool gadget_should_discard_mntns_id(gadget_mntns_id mntns_id)
{
	return gadget_filter_by_mntns && !bpf_map_lookup_elem(&gadget_mntns_filter_map, &mntns_id);
}

// gadget_get_mntns_id() came with the filter once. It reads a struct that the headers for packets have not.
#ifdef __VMLINUX_H__
#include <gadget/mntns.h>
#endif

#endif
