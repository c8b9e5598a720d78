// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause
//
// What a daemon that watches GPUs publishes in pinned maps, see gpu_bridge_maps.h. A newer daemon may add members at the
// end: read them by CO-RE. Kernel: any.

#ifndef GADGET_GPU_TYPES_H
#define GADGET_GPU_TYPES_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

/** Changes when a member moves. */
#define GPU_SCHEMA_VERSION 1

/** How many GPUs are watched at most. */
#define GPU_MAX_DEVICES 16

/** Stands for "more than one" in gpu_device_primary. */
#define GPU_DEVICE_PRIMARY_MULTI 0xFF

/** The state of the daemon. */
struct gpu_meta {
	__u32 schema_version;
	__u32 n_devices;
	/** bpf_ktime_get_boot_ns() when the maps were last written. */
	__u64 last_update_boottime_ns;
	__u32 helper_pid;
	__u32 _reserved;
	/** What to add to a time since boot for one since 1970. */
	__s64 clock_offset_ns;
};

/** One GPU. What its driver doesn't tell is 0. */
struct gpu_device_metrics {
	__u64 timestamp_ns;
	/** Percent. */
	__u32 sm_util_pct;
	__u32 mem_util_pct;
	/** Bytes; what neither programs nor the driver have taken is total - used - reserved. */
	__u64 mem_total;
	__u64 mem_used;
	__u64 mem_reserved;
	__u32 temp_c;
	/** Milliwatts. */
	__u32 power_mw;
	__u32 sm_clock_mhz;
	__u32 mem_clock_mhz;
	/** Bits of NVML's clocksEventReasons. */
	__u64 throttle_reasons;
	__u64 pcie_tx_kbps;
	__u64 pcie_rx_kbps;
	/** Video encoder and decoder, percent. */
	__u32 enc_util_pct;
	__u32 dec_util_pct;
	__u64 nvlink_tx_kbps;
	__u64 nvlink_rx_kbps;
	__u64 ecc_corrected_total;
	__u64 ecc_uncorrected_total;
	__u32 fan_speed_pct;
	__u32 compute_mode;
};

/** One process on one GPU. */
struct gpu_pid_metrics {
	__u64 timestamp_ns;
	__u64 used_gpu_memory;
	__u32 sm_util_pct;
	__u32 mem_util_pct;
	__u32 enc_util_pct;
	__u32 dec_util_pct;
	__u8 gpu_device;
	__u8 mig_instance;
	__u16 _pad;
};

/** One process on all its GPUs together. */
struct gpu_pid_metrics_aggregated {
	__u64 timestamp_ns;
	/** The sum. */
	__u64 used_gpu_memory_total;
	/** The highest. */
	__u32 sm_util_pct_max;
	__u32 mem_util_pct_max;
	/** The only one, or GPU_DEVICE_PRIMARY_MULTI. */
	__u8 gpu_device_primary;
	__u8 device_count;
	__u16 _pad;
};

#endif
