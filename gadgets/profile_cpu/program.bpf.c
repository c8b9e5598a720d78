// SPDX-License-Identifier: GPL-2.0-only
//
// Takes samples of what the CPUs run: the process and its stacks, counted where they are the same.

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include <gadget/common.h>
#include <gadget/filter.h>
#include <gadget/kernel_stack_map.h>
#include <gadget/macros.h>
#include <gadget/scratch.h>
#include <gadget/types.h>
#include <gadget/user_stack_map.h>

#define MAX_ENTRIES 10240

const volatile bool kernel_stacks_only = false;
GADGET_PARAM(kernel_stacks_only);

const volatile bool user_stacks_only = false;
GADGET_PARAM(user_stacks_only);

const volatile bool include_idle = false;
GADGET_PARAM(include_idle);

struct cpu_key {
	// Where in the kernel the CPU was; 0 in user space.
	__u64 kernel_ip;
	__u32 user_stack_id;
	gadget_kernel_stack kern_stack_raw;
	struct gadget_process proc;
};

struct cpu_value {
	__u64 samples;
	// Of the first sample: its timestamp would make every sample another key.
	struct gadget_user_stack user_stack_raw;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct cpu_key);
	__type(value, struct cpu_value);
	__uint(max_entries, MAX_ENTRIES);
} counts SEC(".maps");

GADGET_MAPITER(samples, counts);

// Samples that found no room in the map.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} counts_lost_samples SEC(".maps");

struct cpu_sample {
	struct cpu_key key;
	struct cpu_value value;
};
GADGET_SCRATCH(samples_taken, struct cpu_sample);

static __always_inline void count(struct cpu_key *key, struct cpu_value *first)
{
	struct cpu_value *value = bpf_map_lookup_elem(&counts, key);
	const __u32 zero = 0;
	__u64 *lost;

	if (!value && bpf_map_update_elem(&counts, key, first, BPF_NOEXIST) == 0)
		return;
	// Another CPU was first, or user space took the entry away, or the map is full.
	if (!value)
		value = bpf_map_lookup_elem(&counts, key);
	if (value) {
		__sync_fetch_and_add(&value->samples, 1);
		return;
	}
	lost = bpf_map_lookup_elem(&counts_lost_samples, &zero);
	if (lost)
		__sync_fetch_and_add(lost, 1);
}

SEC("perf_event/profiler")
int profile_cpu(struct bpf_perf_event_data *ctx)
{
	struct cpu_sample *sample;
	__u64 ip = PT_REGS_IP(&ctx->regs);

	if (!include_idle && (__u32)bpf_get_current_pid_tgid() == 0)
		return 0;
	if (gadget_should_discard_data_current())
		return 0;

	sample = samples_taken_claim();
	if (!sample)
		return 0;
	__builtin_memset(&sample->key, 0, sizeof(sample->key));
	gadget_process_populate(&sample->key.proc);

	if (user_stacks_only) {
		sample->key.kern_stack_raw = (__u32)-1;
	} else {
		sample->key.kern_stack_raw = gadget_get_kernel_stack(ctx);
		// The upper half of addresses is the kernel's.
		if ((__s64)ip < 0)
			sample->key.kernel_ip = ip;
	}

	if (kernel_stacks_only)
		__builtin_memset(&sample->value.user_stack_raw, 0, sizeof(sample->value.user_stack_raw));
	else
		gadget_get_user_stack(ctx, &sample->value.user_stack_raw);
	sample->key.user_stack_id = sample->value.user_stack_raw.stack_id;
	sample->value.samples = 1;

	count(&sample->key, &sample->value);
	samples_taken_release(sample);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
