// SPDX-License-Identifier: GPL-2.0-only
//
// Adds up what processes read from and write to block devices.
//
// A request is remembered with who asked for it, gets its time when it goes to the driver, and is counted when it is done.

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include <gadget/common.h>
#include <gadget/core_fixes.bpf.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/types.h>

#define MAX_ENTRIES 10240

// include/linux/blk_types.h
#define REQ_OP_BITS 8
#define REQ_OP_MASK ((1 << REQ_OP_BITS) - 1)

// What is done: the kernel's numbers, and one for all others.
enum rw_type {
	read = 0,
	write = 1,
	flush = 2,
	discard = 3,
	other = 4,
};

struct info {
	struct gadget_process proc;
	enum rw_type rw_raw;
	__s32 major;
	__s32 minor;
	__u32 __pad;
};

struct totals {
	__u64 bytes;
	__u64 us;
	__u32 io;
	__u32 __pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ENTRIES);
	__type(key, struct info);
	__type(value, struct totals);
} counts SEC(".maps");

GADGET_MAPITER(blockio, counts);

// Requests that found no room in one of the maps.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} counts_lost_samples SEC(".maps");

struct started {
	struct gadget_process proc;
	__u64 ns;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ENTRIES);
	__type(key, struct request *);
	__type(value, struct started);
} requests SEC(".maps");

static __always_inline void count_lost(void)
{
	const __u32 zero = 0;
	__u64 *lost = bpf_map_lookup_elem(&counts_lost_samples, &zero);

	if (lost)
		__sync_fetch_and_add(lost, 1);
}

// Who asks: still in the task that does.
static __always_inline int asked(struct request *rq)
{
	struct started started = {};

	if (gadget_should_discard_data_current())
		return 0;
	gadget_process_populate(&started.proc);
	if (bpf_map_update_elem(&requests, &rq, &started, BPF_ANY))
		count_lost();
	return 0;
}

// Where only its first bio was seen when it was asked for: from now on it is known by itself.
static __always_inline struct started *asked_by_bio(struct request *rq)
{
	struct request *bio = (void *)BPF_CORE_READ(rq, bio);
	struct started *started = bpf_map_lookup_elem(&requests, &bio);

	if (!started)
		return 0;
	if (bpf_map_update_elem(&requests, &rq, started, BPF_ANY))
		count_lost();
	bpf_map_delete_elem(&requests, &bio);
	return bpf_map_lookup_elem(&requests, &rq);
}

static __always_inline int issued(struct request *rq)
{
	struct started *started = bpf_map_lookup_elem(&requests, &rq);

	if (!started)
		started = asked_by_bio(rq);
	if (!started)
		return 0;
	// A request that the driver had no room for comes again: its time runs from the last try.
	started->ns = bpf_ktime_get_ns();
	started->bytes = BPF_CORE_READ(rq, __data_len);
	return 0;
}

static __always_inline int done(struct request *rq)
{
	struct started *started = bpf_map_lookup_elem(&requests, &rq);
	struct totals *totals, none = {};
	struct info info = {};
	struct gendisk *disk;
	__u32 op;

	if (!started)
		return 0;
	if (!started->ns)
		goto forget;

	disk = get_disk(rq);
	info.proc = started->proc;
	info.major = BPF_CORE_READ(disk, major);
	info.minor = BPF_CORE_READ(disk, first_minor);
	op = BPF_CORE_READ(rq, cmd_flags) & REQ_OP_MASK;
	info.rw_raw = op < other ? op : other;

	totals = bpf_map_lookup_elem(&counts, &info);
	if (!totals) {
		bpf_map_update_elem(&counts, &info, &none, BPF_NOEXIST);
		totals = bpf_map_lookup_elem(&counts, &info);
	}
	if (totals) {
		__sync_fetch_and_add(&totals->bytes, started->bytes);
		__sync_fetch_and_add(&totals->us, (bpf_ktime_get_ns() - started->ns) / 1000);
		__sync_fetch_and_add(&totals->io, 1);
	} else {
		count_lost();
	}
forget:
	bpf_map_delete_elem(&requests, &rq);
	return 0;
}

// Linux 6.5.
SEC("?raw_tp/block_io_start")
int blockio_start(struct bpf_raw_tracepoint_args *ctx)
{
	return asked((void *)ctx->args[0]);
}

// What the tracepoint was made of, 5.16 to 6.4.
SEC("?fentry/__blk_account_io_start")
int BPF_PROG(blockio_account_fentry, struct request *rq)
{
	return asked(rq);
}

SEC("?kprobe/__blk_account_io_start")
int BPF_KPROBE(blockio_account_kprobe, struct request *rq)
{
	return asked(rq);
}

// Before 5.16.
SEC("?kprobe/blk_account_io_start")
int BPF_KPROBE(blockio_account_old, struct request *rq)
{
	return asked(rq);
}

// Linux 5.11 took the queue out of the tracepoint's arguments. Empty structs: only their names are compared.
struct request___any {};
struct request_queue___any {};
struct bio___any {};
typedef void (*btf_trace_block_rq_issue___queue)(void *, struct request_queue___any *, struct request___any *);

typedef void (*btf_trace_block_getrq___queue)(void *, struct request_queue___any *, struct bio___any *, int);

// Where the compiler left no such function (Debian's 6.1): a request is made for this bio, its first. One that is put before it
// later hides it, and the request is not counted.
SEC("?raw_tp/block_getrq")
int blockio_getrq(struct bpf_raw_tracepoint_args *ctx)
{
	if (bpf_core_type_matches(btf_trace_block_getrq___queue))
		return asked((void *)ctx->args[1]);
	return asked((void *)ctx->args[0]);
}

SEC("raw_tp/block_rq_issue")
int blockio_issue(struct bpf_raw_tracepoint_args *ctx)
{
	if (bpf_core_type_matches(btf_trace_block_rq_issue___queue))
		return issued((void *)ctx->args[1]);
	return issued((void *)ctx->args[0]);
}

SEC("raw_tp/block_rq_complete")
int blockio_complete(struct bpf_raw_tracepoint_args *ctx)
{
	struct request *rq = (void *)ctx->args[0];

	// Called for each part that is done: the last has all that is left.
	if (BPF_CORE_READ(rq, __data_len) > (__u32)ctx->args[2])
		return 0;
	return done(rq);
}

char LICENSE[] SEC("license") = "GPL";
