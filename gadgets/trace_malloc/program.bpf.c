// SPDX-License-Identifier: GPL-2.0-only
//
// Shows how programs take memory from the C library and give it back.
//
// The functions are watched at their start and at their return: a call is shown when it returns, with what it gave. Calls that
// these functions make among themselves are not shown. The process that shows the events is left out: each would cause more.

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include <gadget/buffer.h>
#include <gadget/common.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/regs.h>
#include <gadget/self.h>
#include <gadget/types.h>
#include <gadget/user_stack_map.h>

enum memop {
	malloc,
	free,
	calloc,
	realloc,
	realloc_free,
	mmap,
	munmap,
	posix_memalign,
	aligned_alloc,
	valloc,
	memalign,
	pvalloc,
};

struct event {
	gadget_timestamp timestamp_raw;
	struct gadget_process proc;

	struct gadget_user_stack ustack;

	enum memop operation_raw;
	__u64 addr;
	__u64 size;
};

const volatile __u64 min_size = 0;
const volatile bool failed_only = false;

GADGET_PARAM(min_size);
GADGET_PARAM(failed_only);

GADGET_TRACER_MAP(events, 1024 * 1024 * 4);
GADGET_TRACER(malloc, events, event);

// A call that goes on.
struct call {
	__u64 sp;
	__u64 size;
	__u64 arg;
	enum memop op;
};

// By thread. That of a thread that ended within a call is overwritten in time.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct call);
} calls SEC(".maps");

static __always_inline void show(struct pt_regs *ctx, enum memop op, __u64 addr, __u64 size)
{
	struct gadget_user_stack ustack = {};
	struct event *event;

	// First, and on the stack: it makes a tail call, which the kernel allows neither with a reserved record nor, before Linux 6.8,
	// with 225 bytes of stack.
	gadget_get_user_stack(ctx, &ustack);
	event = gadget_reserve_buf(&events, sizeof(*event));
	if (!event)
		return;
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	gadget_process_populate(&event->proc);
	event->ustack = ustack;
	event->operation_raw = op;
	event->addr = addr;
	event->size = size;
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
}

static __always_inline bool is_unwanted(void)
{
	return gadget_should_discard_data_current() || gadget_is_self();
}

static __always_inline int begins(struct pt_regs *ctx, enum memop op, __u64 size, __u64 arg)
{
	__u32 tid = bpf_get_current_pid_tgid();
	__u64 sp = gadget_regs_sp(ctx);
	struct call call = { .sp = sp, .size = size, .arg = arg, .op = op };
	struct call *outer;

	if (size < min_size || is_unwanted())
		return 0;
	outer = bpf_map_lookup_elem(&calls, &tid);
	// Deeper in the stack, or at the same place by a jump: called by that function. Higher: that one never returned (longjmp).
	if (!outer || outer->sp < sp)
		bpf_map_update_elem(&calls, &tid, &call, BPF_ANY);
	return 0;
}

static __always_inline int ends(struct pt_regs *ctx)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct call *begun = bpf_map_lookup_elem(&calls, &tid);
	__u64 result = gadget_regs_result(ctx);
	struct call call;
	__u64 addr;

	if (!begun || begun->sp != gadget_regs_sp_at_call(ctx))
		return 0;
	call = *begun;
	bpf_map_delete_elem(&calls, &tid);

	addr = result;
	if (call.op == mmap && result == (__u64)-1)
		addr = 0;
	if (call.op == posix_memalign) {
		addr = 0;
		if ((__u32)result == 0)
			bpf_probe_read_user(&addr, sizeof(addr), (void *)call.arg);
	}
	if (failed_only && addr)
		return 0;
	// What realloc() gave back, unless it failed; with a size of 0 it gives back only.
	if (call.op == realloc && call.arg && (addr || !call.size)) {
		show(ctx, realloc_free, call.arg, 0);
		if (!addr)
			return 0;
	}
	show(ctx, call.op, addr, call.size);
	return 0;
}

#define ALLOCATES(function, size, arg)                                   \
	SEC("uprobe/libc:" #function)                                    \
	int function##_begins(struct pt_regs *ctx)                       \
	{                                                                \
		return begins(ctx, function, size, arg);                 \
	}                                                                \
	SEC("uretprobe/libc:" #function)                                 \
	int function##_ends(struct pt_regs *ctx)                         \
	{                                                                \
		return ends(ctx);                                        \
	}

#define ARG(n) gadget_regs_arg(ctx, n)

ALLOCATES(malloc, ARG(0), 0)
ALLOCATES(calloc, ARG(0) * ARG(1), 0)
ALLOCATES(realloc, ARG(1), ARG(0))
ALLOCATES(posix_memalign, ARG(2), ARG(0))
ALLOCATES(aligned_alloc, ARG(1), 0)
ALLOCATES(valloc, ARG(0), 0)
ALLOCATES(memalign, ARG(1), 0)
ALLOCATES(pvalloc, ARG(0), 0)
ALLOCATES(mmap, ARG(1), 0)

// Whether one of the functions above goes on, which may give back on its own.
static __always_inline bool is_within_call(struct pt_regs *ctx)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct call *outer = bpf_map_lookup_elem(&calls, &tid);

	return outer && outer->sp >= gadget_regs_sp(ctx);
}

SEC("uprobe/libc:free")
int free_begins(struct pt_regs *ctx)
{
	__u64 addr = ARG(0);

	// free(NULL) does nothing.
	if (addr && !failed_only && !min_size && !is_unwanted() && !is_within_call(ctx))
		show(ctx, free, addr, 0);
	return 0;
}

SEC("uprobe/libc:munmap")
int munmap_begins(struct pt_regs *ctx)
{
	__u64 size = ARG(1);

	if (!failed_only && size >= min_size && !is_unwanted() && !is_within_call(ctx))
		show(ctx, munmap, ARG(0), size);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
