// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause
//
// The hash FNV-1a, of 32 and of 64 bits. Numbers go in from their lowest byte to their highest. Needs vmlinux.h.
// One multiplication for each byte, no helper calls. Kernel: any.
//
//   u32 hash = fnv_32a_init();
//   fnv_32a_update_u64(&hash, value);

#ifndef GADGET_FNV1A_H
#define GADGET_FNV1A_H

#include <bpf/bpf_helpers.h>

#define FNV1_32_PRIME ((u32)0x01000193)
#define FNV1_32_INIT ((u32)0x811c9dc5)
#define FNV1_64_PRIME ((u64)0x100000001b3)
#define FNV1_64_INIT ((u64)0xcbf29ce484222325)

/** The hash of nothing. */
static __always_inline u32 fnv_32a_init(void)
{
	return FNV1_32_INIT;
}

/** The hash of nothing. */
static __always_inline u64 fnv_64a_init(void)
{
	return FNV1_64_INIT;
}

static __always_inline void __fnv_32a_update(u32 *hash, u64 value, int bytes)
{
	for (int i = 0; i < bytes; i++, value >>= 8)
		*hash = (*hash ^ (u8)value) * FNV1_32_PRIME;
}

static __always_inline void __fnv_64a_update(u64 *hash, u64 value, int bytes)
{
	for (int i = 0; i < bytes; i++, value >>= 8)
		*hash = (*hash ^ (u8)value) * FNV1_64_PRIME;
}

/** Adds a number to a hash of 32 bits: 1, 2, 4 or 8 bytes. */
static __always_inline void fnv_32a_update_u8(u32 *hash, u8 value)
{
	__fnv_32a_update(hash, value, sizeof(value));
}

static __always_inline void fnv_32a_update_u16(u32 *hash, u16 value)
{
	__fnv_32a_update(hash, value, sizeof(value));
}

static __always_inline void fnv_32a_update_u32(u32 *hash, u32 value)
{
	__fnv_32a_update(hash, value, sizeof(value));
}

static __always_inline void fnv_32a_update_u64(u32 *hash, u64 value)
{
	__fnv_32a_update(hash, value, sizeof(value));
}

/** Adds a number to a hash of 64 bits: 1, 2, 4 or 8 bytes. */
static __always_inline void fnv_64a_update_u8(u64 *hash, u8 value)
{
	__fnv_64a_update(hash, value, sizeof(value));
}

static __always_inline void fnv_64a_update_u16(u64 *hash, u16 value)
{
	__fnv_64a_update(hash, value, sizeof(value));
}

static __always_inline void fnv_64a_update_u32(u64 *hash, u32 value)
{
	__fnv_64a_update(hash, value, sizeof(value));
}

static __always_inline void fnv_64a_update_u64(u64 *hash, u64 value)
{
	__fnv_64a_update(hash, value, sizeof(value));
}

#endif
