// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause

#ifndef GADGET_MAPS_BPF_H
#define GADGET_MAPS_BPF_H

#include <bpf/bpf_helpers.h>

/**
 * The value of a key in a hash map, after putting a first value there if there was none. NULL when the map is full.
 *
 * @map a hash map
 * @key points to the key
 * @init points to the first value
 * One lookup, or for a new key three operations. When two CPUs come with the same new key, both get the same value.
 * Kernel: 5.4.
 */
static __always_inline void *bpf_map_lookup_or_try_init(void *map, const void *key, const void *init)
{
	void *value = bpf_map_lookup_elem(map, key);

	if (value)
		return value;
	// It fails when another CPU was first, and when the map is full: the lookup tells which.
	bpf_map_update_elem(map, key, init, BPF_NOEXIST);
	return bpf_map_lookup_elem(map, key);
}

#endif
