// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause
//
// Strings of any length in an event: after its last member, one behind the other. Members of type gadget_string say
// where. The event is put together in memory of GADGET_SCRATCH() and sent with gadget_output_buf(). Kernel: 5.5.
//
//   struct event { gadget_string file; ...; char data[8192]; };
//   work->used = offsetof(struct event, data);
//   event->file = gadget_string_add_user(event, &work->used, sizeof(*event), name);
//   gadget_output_buf(ctx, &events, event, work->used);

#ifndef GADGET_STRINGS_H
#define GADGET_STRINGS_H

#include <bpf/bpf_helpers.h>
#include <gadget/types.h>

/** The longest string, with its NUL; the rest of a longer one is cut off. */
#define GADGET_STRING_MAX 4096

// Where the next string goes, or NULL when there may be no room for it.
static __always_inline char *__gadget_string_place(void *event, __u32 *used, __u64 limit)
{
	__u64 at = *(volatile __u32 *)used;

	if (at > limit - GADGET_STRING_MAX)
		return NULL;
	// Added here and now: the verifier of old kernels forgets what it knew of a number that was on the stack.
	barrier_var(at);
	event += at;
	barrier_var(event);
	return event;
}

// Says where a string of `n` bytes (with its NUL, or a negative error) lies.
static __always_inline gadget_string __gadget_string_added(__u32 *used, long n)
{
	__u32 at = *(volatile __u32 *)used;

	if (n <= 0)
		return 0;
	*(volatile __u32 *)used = at + n;
	return at | (__u32)(n - 1) << 16;
}

/**
 * Adds a string of kernel memory to an event; 0 where it is left out or cannot be read. Costs one copy of the string.
 *
 * @event where the event starts
 * @used how many bytes of it are in use; in memory of a map, not on the stack, or the verifier takes very long
 * @limit the size of the event, a constant; a string is left out when fewer than GADGET_STRING_MAX bytes are free
 * @from where the string is
 */
static __always_inline gadget_string gadget_string_add_kernel(void *event, __u32 *used, __u64 limit, const void *from)
{
	char *place = __gadget_string_place(event, used, limit);

	if (!place)
		return 0;
	return __gadget_string_added(used, bpf_probe_read_kernel_str(place, GADGET_STRING_MAX, from));
}

/** Adds a string of the current task's memory to an event, see gadget_string_add_kernel(). Costs one copy of the string. */
static __always_inline gadget_string gadget_string_add_user(void *event, __u32 *used, __u64 limit, const void *from)
{
	char *place = __gadget_string_place(event, used, limit);

	if (!place)
		return 0;
	return __gadget_string_added(used, bpf_probe_read_user_str(place, GADGET_STRING_MAX, from));
}

/**
 * Adds "directory/name" to an event, see gadget_string_add_kernel(). Costs one copy of each of the two.
 *
 * @directory a string of this event
 * @name in memory of the current task if `is_user`, else of the kernel
 */
static __always_inline gadget_string gadget_string_add_joined(void *event, __u32 *used, __u64 limit,
							      gadget_string directory, const void *name, bool is_user)
{
	__u64 start = *(volatile __u32 *)used;
	__u64 end;

	if (!gadget_string_add_kernel(event, used, limit, event + (directory & 0xffff)))
		return 0;
	// The name follows in place of the NUL, after a slash; that of the root is there.
	end = *(volatile __u32 *)used - 1;
	if (directory >> 16 > 1 && end < limit) {
		((char *)event)[end] = '/';
		end++;
	}
	*(volatile __u32 *)used = end;
	if (!(is_user ? gadget_string_add_user(event, used, limit, name) :
			gadget_string_add_kernel(event, used, limit, name))) {
		*(volatile __u32 *)used = start;
		return 0;
	}
	return start | (*(volatile __u32 *)used - 1 - start) << 16;
}

#endif
