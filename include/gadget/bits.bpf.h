// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause
//
// Arithmetic for histograms. Needs vmlinux.h. No helper calls. Kernel: any.

#ifndef GADGET_BITS_BPF_H
#define GADGET_BITS_BPF_H

#include <bpf/bpf_helpers.h>

/** The number of the highest bit that is set; 0 for 0 as for 1. Five steps of a few instructions. */
static __always_inline u64 gadget_log2(u32 v)
{
	u64 bit = 0;

	// A binary search: one comparison for each power of two of the width.
#pragma unroll
	for (int width = 16; width > 0; width /= 2) {
		if (v >> width) {
			v >>= width;
			bit += width;
		}
	}
	return bit;
}

/** gadget_log2() by its usual name; a macro, since the compiler has ideas of its own about a function log2. Costs the same. */
#define log2(v) gadget_log2(v)

/** The slot of a value in a histogram of powers of two: 0 for 0, and n + 1 for values from 2^n to 2^(n+1) - 1; at most 64. Costs a gadget_log2(). */
static __always_inline u64 get_slot_idx(u64 v)
{
	u32 high = v >> 32;

	if (v == 0)
		return 0;
	return 1 + (high ? 32 + gadget_log2(high) : gadget_log2((u32)v));
}

#endif
