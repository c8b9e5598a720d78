// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause
//
// Arguments and results of functions in programs of kprobes, kretprobes, uprobes and uretprobes, without a choice of machine
// when it is compiled: one object works on x86-64 and arm64. Needs vmlinux.h. Kernel: 5.5.

#ifndef GADGET_REGS_H
#define GADGET_REGS_H

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <gadget/syscall.h>

struct pt_regs___gadget_x86_more {
	unsigned long ax, sp;
} __attribute__((preserve_access_index));

struct pt_regs___gadget_arm64_more {
	__u64 regs[31];
	__u64 sp;
} __attribute__((preserve_access_index));

/**
 * An argument of a function that has just been called, or 0 for one beyond the sixth. One read.
 *
 * @ctx the program's context
 * @n a constant: 0 is the first argument. Integers and pointers only: numbers with a fraction have registers of their own
 */
static __always_inline __u64 gadget_regs_arg(void *ctx, int n)
{
	struct pt_regs___gadget_x86 *x86 = ctx;
	struct pt_regs___gadget_arm64_more *arm64 = ctx;

	if (gadget_arch_is_x86())
		return n == 0 ? BPF_CORE_READ(x86, di) :
		       n == 1 ? BPF_CORE_READ(x86, si) :
		       n == 2 ? BPF_CORE_READ(x86, dx) :
		       n == 3 ? BPF_CORE_READ(x86, cx) :
		       n == 4 ? BPF_CORE_READ(x86, r8) :
		       n == 5 ? BPF_CORE_READ(x86, r9) :
				0;
	return n < 6 ? BPF_CORE_READ(arm64, regs[n]) : 0;
}

/** What a function returns, in programs of kretprobes and uretprobes. One read. */
static __always_inline __u64 gadget_regs_result(void *ctx)
{
	struct pt_regs___gadget_x86_more *x86 = ctx;
	struct pt_regs___gadget_arm64_more *arm64 = ctx;

	return gadget_arch_is_x86() ? BPF_CORE_READ(x86, ax) : BPF_CORE_READ(arm64, regs[0]);
}

/**
 * Where the stack is. When a function returns it is where it was when the function was called, on x86-64 8 bytes higher: there
 * the return address is gone. One read.
 */
static __always_inline __u64 gadget_regs_sp(void *ctx)
{
	struct pt_regs___gadget_x86_more *x86 = ctx;
	struct pt_regs___gadget_arm64_more *arm64 = ctx;

	return gadget_arch_is_x86() ? BPF_CORE_READ(x86, sp) : BPF_CORE_READ(arm64, sp);
}

/** In programs of uretprobes: where the stack was when the function was called. One read. */
static __always_inline __u64 gadget_regs_sp_at_call(void *ctx)
{
	return gadget_regs_sp(ctx) - (gadget_arch_is_x86() ? 8 : 0);
}

#endif
