// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause
//
// Stacks of user space. Needs vmlinux.h. Kernel: 5.4.
//
// Off unless the user asks for them (--collect-ustack): until then gadget_get_user_stack() only writes zeroes.

#ifndef GADGET_USER_STACK_MAP_H
#define GADGET_USER_STACK_MAP_H

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <gadget/libbpf_compat.h>

#include <gadget/types.h>
#include <gadget/macros.h>
#include <gadget/fnv1a.h>
#include <gadget/core_fixes.bpf.h>

/** How many functions of a stack are kept. */
#define GADGET_USER_MAX_STACK_DEPTH 127
/** How many different stacks are kept. */
#define GADGET_USER_STACK_MAP_MAX_ENTRIES 10000

/** Whether to take stacks. */
const volatile bool collect_ustack = false;
GADGET_PARAM(collect_ustack);

/** Whether to keep build ids and file offsets with them, so that they can be read after the process is gone. */
const volatile bool collect_build_id = false;
GADGET_PARAM(collect_build_id);

/** Whether to let an OpenTelemetry profiler unwind the stack too. */
const volatile bool collect_otel_stack = false;
GADGET_PARAM(collect_otel_stack);

/** How many stacks can have build ids: the size of the map ig_build_id. */
const volatile int ig_build_id_max_entries = 1024;
GADGET_PARAM(ig_build_id_max_entries);

/** The stacks, by the id that is in the events. About 10 MB when full. */
struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, GADGET_USER_STACK_MAP_MAX_ENTRIES);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, GADGET_USER_MAX_STACK_DEPTH * sizeof(__u64));
} ig_ustack SEC(".maps");

/** Build ids and offsets, by the same id. User space sets its size from ig_build_id_max_entries. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 0);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, GADGET_USER_MAX_STACK_DEPTH * sizeof(struct bpf_stack_build_id));
} ig_build_id SEC(".maps");

// Too large for the stack.
static const struct bpf_stack_build_id __gadget_no_build_ids[GADGET_USER_MAX_STACK_DEPTH] = {};

struct generic_param {
	u64 correlation_id;
};

/** What the OpenTelemetry profiler answers; user space puts the profiler's map here. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct generic_param);
} otel_generic_params SEC(".maps");

/** The OpenTelemetry profiler's program for kprobes and uprobes; empty where there is none. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} otel_tc_kprobe SEC(".maps");

/** The OpenTelemetry profiler's program for perf events; empty where there is none. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} otel_tc_perf SEC(".maps");

// A tail call never returns: in a function of its own it ends only that function.
static __noinline int __gadget_run_otel_kprobe(void *ctx)
{
	bpf_tail_call(ctx, &otel_tc_kprobe, 0);
	return 0;
}

static __noinline int __gadget_run_otel_perf(void *ctx)
{
	bpf_tail_call(ctx, &otel_tc_perf, 0);
	return 0;
}

static __always_inline void __gadget_read_otel_answer(struct gadget_user_stack *ustack)
{
	const __u32 zero = 0;
	struct generic_param *answer = bpf_map_lookup_elem(&otel_generic_params, &zero);

	if (answer)
		ustack->otel_correlation_id = answer->correlation_id;
}

/** Where the program of a task lies in memory, as a hash: changes with each exec, and differs between processes. Six reads. */
static __always_inline u32 gadget_get_base_addr_hash(struct task_struct *task)
{
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	u32 hash = fnv_32a_init();

	fnv_32a_update_u64(&hash, (u64)mm);
	fnv_32a_update_u64(&hash, BPF_CORE_READ(mm, start_code));
	fnv_32a_update_u64(&hash, BPF_CORE_READ(mm, start_stack));
	return hash;
}

static __always_inline void __gadget_fill_user_stack(void *ctx, struct gadget_user_stack *ustack)
{
	struct task_struct *task;
	struct inode *inode;
	struct pid *pid;
	struct upid *upid;
	__u32 dev;
	long stack_id;

	__builtin_memset(ustack, 0, sizeof(*ustack));
	if (!collect_ustack)
		return;

	task = (struct task_struct *)bpf_get_current_task();
	stack_id = bpf_get_stackid(ctx, &ig_ustack, BPF_F_FAST_STACK_CMP | BPF_F_USER_STACK);
	ustack->stack_id = stack_id;
	ustack->boot_timestamp = bpf_ktime_get_boot_ns();
	ustack->base_addr_hash = gadget_get_base_addr_hash(task);

	inode = BPF_CORE_READ(task, mm, exe_file, f_inode);
	dev = BPF_CORE_READ(inode, i_sb, s_dev);
	// include/linux/kdev_t.h: 20 bits of minor number.
	ustack->major = dev >> 20;
	ustack->minor = dev & 0xfffff;
	ustack->inode = BPF_CORE_READ(inode, i_ino);
	gadget_inode_get_mtime(inode, &ustack->mtime_sec, &ustack->mtime_nsec);

	pid = BPF_CORE_READ(task, thread_pid);
	// An array without a size since 6.5, of one element before.
	upid = (struct upid *)&pid->numbers;
	ustack->tgid_level0 = BPF_CORE_READ(task, tgid);
	ustack->pid_level0 = BPF_CORE_READ(upid, nr);
	ustack->pidns_level0 = BPF_CORE_READ(upid, ns, ns.inum);
	if (BPF_CORE_READ(pid, level) > 0) {
		upid = (void *)upid + bpf_core_type_size(struct upid);
		ustack->pid_level1 = BPF_CORE_READ(upid, nr);
		ustack->pidns_level1 = BPF_CORE_READ(upid, ns, ns.inum);
	}

	if (collect_build_id && stack_id >= 0) {
		__u32 key = stack_id;
		void *ids;

		// Only the first time that this stack is seen.
		if (bpf_map_update_elem(&ig_build_id, &key, &__gadget_no_build_ids, BPF_NOEXIST))
			return;
		ids = bpf_map_lookup_elem(&ig_build_id, &key);
		if (ids)
			bpf_get_stack(ctx, ids, sizeof(__gadget_no_build_ids), BPF_F_USER_STACK | BPF_F_USER_BUILD_ID);
	}
}

/** Fills *ustack in programs of kprobes, kretprobes, uprobes and uretprobes, at the cost of gadget_get_user_stack(). */
static __always_inline void gadget_get_user_stack_from_kprobe(void *ctx, struct gadget_user_stack *ustack)
{
	__gadget_fill_user_stack(ctx, ustack);
	if (collect_ustack && collect_otel_stack) {
		__gadget_run_otel_kprobe(ctx);
		__gadget_read_otel_answer(ustack);
	}
}

/** Fills *ustack in programs of perf events, at the cost of gadget_get_user_stack(). */
static __always_inline void gadget_get_user_stack_from_perf_event(void *ctx, struct gadget_user_stack *ustack)
{
	__gadget_fill_user_stack(ctx, ustack);
	if (collect_ustack && collect_otel_stack) {
		__gadget_run_otel_perf(ctx);
		__gadget_read_otel_answer(ustack);
	}
}

/**
 * Fills *ustack in programs of tracepoints, at the cost of gadget_get_user_stack().
 * The OpenTelemetry profiler has no program for these: with --collect-otel-stack the gadget is refused by the verifier.
 */
static __always_inline void gadget_get_user_stack_from_tracepoint(void *ctx, struct gadget_user_stack *ustack)
{
	__gadget_fill_user_stack(ctx, ustack);
	if (collect_ustack && collect_otel_stack)
		bpf_core_unreachable();
}

/**
 * gadget_get_user_stack(ctx, struct gadget_user_stack *ustack): fills *ustack with the current task's stack of user space,
 * or with zeroes when none are collected.
 *
 * @ctx the program's context: a struct pt_regs * or a struct bpf_perf_event_data *; another type doesn't compile, and the
 * functions above are for that
 * About 25 reads and one walk over the stack; a stack that is not in memory is cut short.
 */
#define gadget_get_user_stack(ctx, ustack)                                                 \
	_Generic((ctx),                                                                    \
		struct pt_regs *: gadget_get_user_stack_from_kprobe,                       \
		struct bpf_perf_event_data *: gadget_get_user_stack_from_perf_event)((ctx), (ustack))

#endif
