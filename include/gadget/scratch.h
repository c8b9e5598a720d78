// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause
//
// Memory for values that are too large for the 512 bytes of a BPF stack. Kernel: 5.3 (bounded loops).

#ifndef GADGET_SCRATCH_H
#define GADGET_SCRATCH_H

#include <bpf/bpf_helpers.h>

/** How many programs, each interrupting the one before, may hold a value of GADGET_SCRATCH() on one CPU. */
#ifndef GADGET_SCRATCH_NESTING
#define GADGET_SCRATCH_NESTING 2
#endif

// Functions that a macro makes are not all used.
#define __GADGET_INLINE static __always_inline __attribute__((unused))

/**
 * Declares a per-CPU value, and functions to get at it:
 *
 *   value_type *<name>_claim(void)         a value that nobody else uses, NULL when all are in use
 *   void <name>_release(value_type *)      gives it back
 *   __u32 <name>_index(value_type *)       its number, to hand it to a global function, which takes no such pointer
 *   value_type *<name>_at(__u32 index)     the value of a number, NULL when there is none
 *
 * What was left in it by an earlier user is still there. Costs GADGET_SCRATCH_NESTING * (16 + sizeof(value_type)) bytes
 * per CPU; a type may have up to 32 KiB. A program that interrupts another, or a task that preempts another where
 * programs run preemptibly, gets a value of its own. Kernel: 5.3 (bounded loops).
 */
#define GADGET_SCRATCH(name, value_type)                                                         \
	struct __##name##_slot {                                                                 \
		__u64 users;                                                                     \
		__u64 index;                                                                     \
		value_type value;                                                                \
	};                                                                                       \
	struct {                                                                                 \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);                                         \
		__uint(max_entries, GADGET_SCRATCH_NESTING);                                     \
		__uint(key_size, sizeof(__u32));                                                 \
		__uint(value_size, sizeof(struct __##name##_slot));                              \
	} name SEC(".maps");                                                                     \
	__GADGET_INLINE value_type *name##_claim(void)                                           \
	{                                                                                        \
		for (__u32 i = 0; i < GADGET_SCRATCH_NESTING; i++) {                             \
			/* A copy: a counter in memory is unknown to the verifier of old kernels. */ \
			__u32 key = i;                                                           \
			struct __##name##_slot *slot = bpf_map_lookup_elem(&name, &key);         \
                                                                                                 \
			if (!slot)                                                               \
				return NULL;                                                     \
			/* Add, then look: of two that meet here at most one sees 1. */          \
			__sync_fetch_and_add(&slot->users, 1);                                   \
			if (*(volatile __u64 *)&slot->users == 1) {                              \
				slot->index = i;                                                 \
				return &slot->value;                                             \
			}                                                                        \
			__sync_fetch_and_add(&slot->users, -1);                                  \
		}                                                                                \
		return NULL;                                                                     \
	}                                                                                        \
	__GADGET_INLINE struct __##name##_slot *__##name##_slot_of(value_type *value)            \
	{                                                                                        \
		return (void *)value - __builtin_offsetof(struct __##name##_slot, value);        \
	}                                                                                        \
	__GADGET_INLINE void name##_release(value_type *value)                                   \
	{                                                                                        \
		__sync_fetch_and_add(&__##name##_slot_of(value)->users, -1);                     \
	}                                                                                        \
	__GADGET_INLINE __u32 name##_index(value_type *value)                                    \
	{                                                                                        \
		return __##name##_slot_of(value)->index;                                         \
	}                                                                                        \
	__GADGET_INLINE value_type *name##_at(__u32 index)                                       \
	{                                                                                        \
		struct __##name##_slot *slot = bpf_map_lookup_elem(&name, &index);               \
                                                                                                 \
		if (!slot)                                                                       \
			return NULL;                                                             \
		/* Or the compiler adds first and asks then, which the verifier refuses. */      \
		barrier_var(slot);                                                               \
		return &slot->value;                                                             \
	}

#endif
