// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause
//
// Sends events to user space through one map, which is a ring buffer where the kernel has ring buffers (5.8) and a perf
// event array where it has not. User space replaces the map's type when it loads the object, and answers the question
// "does this kernel know the helper?" in the code below (a CO-RE relocation) by the same decision; the verifier then
// removes the other half, so neither way costs anything at run time.
//
// Every event that could not be sent is counted here, with atomic additions to counters that are never set back. The
// records that perf reports as lost are among them: do not add the two. Kernel: 5.4.

#ifndef GADGET_BUFFER_H
#define GADGET_BUFFER_H

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/** The largest event that gadget_reserve_buf() can hold on a kernel without ring buffers; define it before including. */
#ifndef GADGET_MAX_EVENT_SIZE
#define GADGET_MAX_EVENT_SIZE 10240
#endif

/** How many programs, each interrupting the one before, may hold a reserved event on one CPU (perf event arrays only). */
#ifndef GADGET_MAX_NESTING
#define GADGET_MAX_NESTING 4
#endif

#define __GADGET_OVERLOAD static __always_inline __attribute__((overloadable, unused))

/**
 * Declares a map to send events through, and a counter of the events that found no room: <name>_lost_samples.
 *
 * @name the map's name
 * @size its size in bytes: a power of two, and a multiple of the page size
 */
#define GADGET_TRACER_MAP(name, size)                                                            \
	struct {                                                                                 \
		__uint(type, BPF_MAP_TYPE_RINGBUF);                                              \
		__uint(max_entries, size);                                                       \
	} name SEC(".maps");                                                                     \
	struct {                                                                                 \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);                                         \
		__uint(max_entries, 1);                                                          \
		__uint(key_size, sizeof(__u32));                                                 \
		__uint(value_size, sizeof(__u64));                                               \
	} name##_lost_samples SEC(".maps");                                                      \
	/* Chosen before the one for `void *` when the argument is &name. */                     \
	__GADGET_OVERLOAD void __gadget_count_lost(typeof(name) *map)                            \
	{                                                                                        \
		__gadget_count_lost_in(&name##_lost_samples);                                    \
	}                                                                                        \
	const void *gadget_map_tracer_##name __attribute__((unused));

// Counts for maps given as `void *`, where the compiler can't tell which map it is. A static variable: objects that
// never need it don't have it.
static __u64 gadget_lost_samples __attribute__((unused));

__GADGET_OVERLOAD void __gadget_count_lost_in(void *counter_map)
{
	const __u32 zero = 0;
	__u64 *counter = bpf_map_lookup_elem(counter_map, &zero);

	// Atomic although per CPU: an interrupting program may count on the same CPU.
	if (counter)
		__sync_fetch_and_add(counter, 1);
}

__GADGET_OVERLOAD void __gadget_count_lost(void *map)
{
	__sync_fetch_and_add(&gadget_lost_samples, 1);
}

__GADGET_OVERLOAD long __gadget_perf_output(void *ctx, void *map, void *buf, __u64 size)
{
	return bpf_perf_event_output(ctx, map, BPF_F_CURRENT_CPU, buf, size);
}

#ifndef GADGET_NO_BUF_RESERVE
struct __gadget_slot {
	/** Greater than 0 while a program fills the event below. */
	__u64 users;
	__u8 event[GADGET_MAX_EVENT_SIZE];
};

// Where events are filled on kernels without ring buffers. One slot per nesting level: a program that interrupts
// another between reserve and submit takes the next one.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, GADGET_MAX_NESTING);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct __gadget_slot));
} gadget_heap SEC(".maps");

static __always_inline void *__gadget_slot_claim(void)
{
	for (__u32 i = 0; i < GADGET_MAX_NESTING; i++) {
		// A copy: a counter in memory is unknown to the verifier of old kernels.
		__u32 key = i;
		struct __gadget_slot *slot = bpf_map_lookup_elem(&gadget_heap, &key);

		if (!slot)
			return NULL;
		// Add, then look: of two that meet here at most one sees 1, and both give way at worst.
		__sync_fetch_and_add(&slot->users, 1);
		if (*(volatile __u64 *)&slot->users == 1)
			return slot->event;
		__sync_fetch_and_add(&slot->users, -1);
	}
	return NULL;
}

static __always_inline void __gadget_slot_release(void *event)
{
	struct __gadget_slot *slot = event - __builtin_offsetof(struct __gadget_slot, event);

	__sync_fetch_and_add(&slot->users, -1);
}

static __always_inline void *__gadget_reserve_buf(void *map, __u64 size)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_ringbuf_reserve))
		return bpf_ringbuf_reserve(map, size, 0);
	if (size > GADGET_MAX_EVENT_SIZE)
		return NULL;
	return __gadget_slot_claim();
}

/**
 * void *gadget_reserve_buf(void *map, __u64 size): room for one event, or NULL when there is none (counted as lost).
 *
 * @size a constant; with perf event arrays at most GADGET_MAX_EVENT_SIZE
 * The memory is not zeroed: fill every byte, the padding between members too. Give it back with gadget_submit_buf()
 * or gadget_discard_buf() on every way out.
 */
#define gadget_reserve_buf(map, size)                                                            \
	({                                                                                       \
		void *__gadget_event = __gadget_reserve_buf(map, size);                          \
		if (!__gadget_event)                                                             \
			__gadget_count_lost(map);                                                \
		__gadget_event;                                                                  \
	})

/** Gives back a reserved event that is not wanted after all. */
static __always_inline void gadget_discard_buf(void *buf)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_ringbuf_discard))
		bpf_ringbuf_discard(buf, 0);
	else
		__gadget_slot_release(buf);
}

static __always_inline long __gadget_submit_buf(void *ctx, void *map, void *buf, __u64 size)
{
	long error;

	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_ringbuf_submit)) {
		bpf_ringbuf_submit(buf, 0);
		return 0;
	}
	error = __gadget_perf_output(ctx, map, buf, size);
	__gadget_slot_release(buf);
	return error;
}

/**
 * long gadget_submit_buf(void *ctx, void *map, void *buf, __u64 size): sends a reserved event. 0, or a negative error
 * (counted as lost; perf event arrays only).
 *
 * @ctx the program's context
 * @size the size that was reserved
 */
#define gadget_submit_buf(ctx, map, buf, size)                                                   \
	({                                                                                       \
		long __gadget_error = __gadget_submit_buf(ctx, map, buf, size);                  \
		if (__gadget_error)                                                              \
			__gadget_count_lost(map);                                                \
		__gadget_error;                                                                  \
	})
#endif /* GADGET_NO_BUF_RESERVE */

static __always_inline long __gadget_output_buf(void *ctx, void *map, void *buf, __u64 size)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_ringbuf_output))
		return bpf_ringbuf_output(map, buf, size, 0);
	return __gadget_perf_output(ctx, map, buf, size);
}

// The size of a perf record has 16 bits, of which its head takes up to 32 bytes: the kernel doesn't refuse a longer one but
// writes the rest of the number, and what comes behind can't be read any more. With a constant size this costs nothing.
#define __GADGET_MAX_PERF_EVENT (65535 - 32)
#define __GADGET_E2BIG 7
#define __gadget_fits(size)                                                                      \
	((size) <= __GADGET_MAX_PERF_EVENT ||                                                    \
	 bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_ringbuf_output))

/**
 * long gadget_output_buf(void *ctx, void *map, void *buf, __u64 size): copies an event and sends it. 0, or a negative
 * error (counted as lost): with perf event arrays that is so for events over 65,503 bytes.
 *
 * @ctx the program's context
 * @size may vary from event to event: what is missing at the end of the struct is read as zero
 */
#define gadget_output_buf(ctx, map, buf, size)                                                   \
	({                                                                                       \
		long __gadget_error = __gadget_fits(size) ?                                      \
					      __gadget_output_buf(ctx, map, buf, size) :         \
					      -__GADGET_E2BIG;                                   \
		if (__gadget_error)                                                              \
			__gadget_count_lost(map);                                                \
		__gadget_error;                                                                  \
	})

#endif
