// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause
//
// The maps of a daemon that watches GPUs, pinned by name in the BPF file system. Include vmlinux.h first, and define, before
// including this file, GPU_BRIDGE_WANT_META, GPU_BRIDGE_WANT_DEVICE, GPU_BRIDGE_WANT_PER_PID,
// GPU_BRIDGE_WANT_PER_PID_PER_DEVICE or GPU_BRIDGE_WANT_ALL: only the maps asked for are declared. Kernel: 5.4.

#ifndef GADGET_GPU_BRIDGE_MAPS_H
#define GADGET_GPU_BRIDGE_MAPS_H

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <gadget/gpu_types.h>

#ifdef GPU_BRIDGE_WANT_ALL
#define GPU_BRIDGE_WANT_META
#define GPU_BRIDGE_WANT_DEVICE
#define GPU_BRIDGE_WANT_PER_PID
#define GPU_BRIDGE_WANT_PER_PID_PER_DEVICE
#endif

#ifdef GPU_BRIDGE_WANT_META
/** The daemon's state, at key 0. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct gpu_meta);
} gpu_meta SEC(".maps");

/** The daemon's state if it is not older than so many milliseconds, else NULL. One lookup. */
static __always_inline struct gpu_meta *gpu_meta_fresh(__u64 now_boot_ns, __u64 stale_threshold_ms)
{
	const __u32 zero = 0;
	struct gpu_meta *meta = bpf_map_lookup_elem(&gpu_meta, &zero);

	if (!meta || now_boot_ns - meta->last_update_boottime_ns > stale_threshold_ms * 1000000)
		return NULL;
	return meta;
}
#endif

#ifdef GPU_BRIDGE_WANT_DEVICE
/** GPUs by their number. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, GPU_MAX_DEVICES);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct gpu_device_metrics);
} gpu_device SEC(".maps");
#endif

#ifdef GPU_BRIDGE_WANT_PER_PID
/** Processes by their id in the first pid namespace. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct gpu_pid_metrics_aggregated);
} gpu_per_pid SEC(".maps");

/** What is known of a process if it holds at least so many bytes of GPU memory, else NULL. One lookup. */
static __always_inline struct gpu_pid_metrics_aggregated *gpu_pid_holder(__u32 tgid, __u64 min_gpu_mem_bytes)
{
	struct gpu_pid_metrics_aggregated *process = bpf_map_lookup_elem(&gpu_per_pid, &tgid);

	return process && process->used_gpu_memory_total >= min_gpu_mem_bytes ? process : NULL;
}
#endif

#ifdef GPU_BRIDGE_WANT_PER_PID_PER_DEVICE
/** Processes by their id, shifted left by 32, and the number of the GPU. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u64);
	__type(value, struct gpu_pid_metrics);
} gpu_per_pid_per_device SEC(".maps");
#endif

#endif
