// SPDX-License-Identifier: GPL-2.0-only
//
// Counts requests to block devices by how long they took, in slots of powers of two.

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include <gadget/bits.bpf.h>
#include <gadget/core_fixes.bpf.h>
#include <gadget/macros.h>
#include <gadget/types.h>

#define MAX_ENTRIES 10240
#define MAX_SLOTS 27

// include/linux/kdev_t.h
#define MINORBITS 20
#define MKDEV(major, minor) (((major) << MINORBITS) | (minor))

/** A row for each disk. */
const volatile bool targ_per_disk = false;
GADGET_PARAM(targ_per_disk);

/** A row for each combination of flags. */
const volatile bool targ_per_flag = false;
GADGET_PARAM(targ_per_flag);

/** Count the time in the queue too. */
const volatile bool targ_queued = false;
GADGET_PARAM(targ_queued);

/** Slots of milliseconds, not microseconds. */
const volatile bool targ_ms = false;
GADGET_PARAM(targ_ms);

/** Only this disk, MAJOR << 20 | MINOR; 0 is any. */
const volatile __u32 targ_dev = 0;
GADGET_PARAM(targ_dev);

struct hist_key {
	__u32 cmd_flags;
	__u32 dev;
};

struct hist_value {
	gadget_histogram_slot__u32 latency[MAX_SLOTS];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ENTRIES);
	__type(key, struct hist_key);
	__type(value, struct hist_value);
} hists SEC(".maps");

GADGET_MAPITER(blockio, hists);

// Requests that found no room in one of the maps.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} hists_lost_samples SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ENTRIES);
	__type(key, struct request *);
	__type(value, __u64);
} started SEC(".maps");

static const struct hist_value no_requests;

static __always_inline void count_lost(void)
{
	const __u32 zero = 0;
	__u64 *lost = bpf_map_lookup_elem(&hists_lost_samples, &zero);

	if (lost)
		__sync_fetch_and_add(lost, 1);
}

static __always_inline __u32 dev_of(struct request *rq)
{
	struct gendisk *disk = get_disk(rq);

	return disk ? MKDEV(BPF_CORE_READ(disk, major), BPF_CORE_READ(disk, first_minor)) : 0;
}

static __always_inline int start(struct request *rq, int mode)
{
	__u64 now = bpf_ktime_get_ns();

	if (targ_dev && dev_of(rq) != targ_dev)
		return 0;
	if (bpf_map_update_elem(&started, &rq, &now, mode) && mode == BPF_ANY)
		count_lost();
	return 0;
}

// Linux 5.11 took the queue out of the tracepoints' arguments. Empty structs: only their names are compared.
struct request___any {};
struct request_queue___any {};
typedef void (*btf_trace_block_rq_insert___queue)(void *, struct request_queue___any *, struct request___any *);
typedef void (*btf_trace_block_rq_issue___queue)(void *, struct request_queue___any *, struct request___any *);

SEC("raw_tp/block_rq_insert")
int blockio_insert(struct bpf_raw_tracepoint_args *ctx)
{
	if (!targ_queued)
		return 0;
	if (bpf_core_type_matches(btf_trace_block_rq_insert___queue))
		return start((void *)ctx->args[1], BPF_ANY);
	return start((void *)ctx->args[0], BPF_ANY);
}

SEC("raw_tp/block_rq_issue")
int blockio_issue(struct bpf_raw_tracepoint_args *ctx)
{
	// Requests that went past the queue start here in any case.
	int mode = targ_queued ? BPF_NOEXIST : BPF_ANY;

	if (bpf_core_type_matches(btf_trace_block_rq_issue___queue))
		return start((void *)ctx->args[1], mode);
	return start((void *)ctx->args[0], mode);
}

SEC("raw_tp/block_rq_complete")
int blockio_complete(struct bpf_raw_tracepoint_args *ctx)
{
	struct request *rq = (void *)ctx->args[0];
	__u64 now = bpf_ktime_get_ns();
	struct hist_key key = {};
	struct hist_value *hist;
	__u64 *began, slot;

	// Called for each part that is done: the last has all that is left.
	if (BPF_CORE_READ(rq, __data_len) > (__u32)ctx->args[2])
		return 0;
	began = bpf_map_lookup_elem(&started, &rq);
	if (!began)
		return 0;

	if (targ_per_disk)
		key.dev = dev_of(rq);
	if (targ_per_flag)
		key.cmd_flags = BPF_CORE_READ(rq, cmd_flags);
	slot = get_slot_idx((now - *began) / (targ_ms ? 1000000 : 1000));
	if (slot >= MAX_SLOTS)
		slot = MAX_SLOTS - 1;

	hist = bpf_map_lookup_elem(&hists, &key);
	if (!hist) {
		bpf_map_update_elem(&hists, &key, &no_requests, BPF_NOEXIST);
		hist = bpf_map_lookup_elem(&hists, &key);
	}
	if (hist)
		__sync_fetch_and_add(&hist->latency[slot], 1);
	else
		count_lost();
	bpf_map_delete_elem(&started, &rq);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
