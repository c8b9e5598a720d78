// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause
//
// Stacks of the kernel. Needs vmlinux.h. Kernel: 5.4.

#ifndef GADGET_KERNEL_STACK_MAP_H
#define GADGET_KERNEL_STACK_MAP_H

#include <bpf/bpf_helpers.h>
#include <gadget/libbpf_compat.h>

/** How many functions of a stack are kept. */
#define GADGET_KERNEL_MAX_STACK_DEPTH 127
/** How many different stacks are kept. */
#define GADGET_KERNEL_STACK_MAP_MAX_ENTRIES 10000

/** The stacks, by the id that is in the events. About 10 MB when full. */
struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, GADGET_KERNEL_STACK_MAP_MAX_ENTRIES);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, GADGET_KERNEL_MAX_STACK_DEPTH * sizeof(__u64));
} ig_kstack SEC(".maps");

/**
 * Keeps the kernel's current stack; returns its id for a field of type gadget_kernel_stack, or a negative error.
 *
 * @ctx the program's context
 * One walk over the stack: the dearest thing most gadgets do. Not for tp_btf and iter before 5.11. Kernel: 5.4.
 */
static __always_inline long gadget_get_kernel_stack(void *ctx)
{
	return bpf_get_stackid(ctx, &ig_kstack, BPF_F_FAST_STACK_CMP);
}

#endif
