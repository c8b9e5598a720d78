// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause
//
// Marks by which user space finds what a gadget has to offer. Each is a pointer variable that nothing reads: its name
// in BTF is the message. They cost 8 bytes of .bss each, and no instruction. Kernel: any with BTF.

#ifndef GADGET_MACROS_H
#define GADGET_MACROS_H

#include <gadget/libbpf_compat.h>

// A name with three underscores separates parts, so a part itself must not contain three in a row.
// The semicolon is inside: with or without one after the macro, both compile.
#define __GADGET_MARK(symbol) const void *symbol __attribute__((unused));

/**
 * A tracer: a source of events.
 *
 * @name the data source's name
 * @map_name a map declared with GADGET_TRACER_MAP(), or any ring buffer or perf event array
 * @event_type the tag of the struct that describes an event
 */
#define GADGET_TRACER(name, map_name, event_type)                              \
	__GADGET_MARK(gadget_tracer_##name##___##map_name##___##event_type)    \
	const struct event_type *__gadget_tracer_type_##name __attribute__((unused));

/** A `const volatile` variable that the user can set before the gadget is loaded. */
#define GADGET_PARAM(name) __GADGET_MARK(gadget_param_##name)

/**
 * An iterator: a source of rows made anew each time it is read.
 *
 * @name the data source's name
 * @type the tag of the struct that the programs write with bpf_seq_write()
 * @... one to three programs of sections iter/...; what they write is put together
 */
#define GADGET_ITER(name, type, ...)                                           \
	const struct type *unusedevent_##name##___##type __attribute__((unused)); \
	__GADGET_ITER_N(__VA_ARGS__, 3, 2, 1)(name, type, __VA_ARGS__)

/** The older name of GADGET_ITER(). */
#define GADGET_SNAPSHOTTER(name, type, ...) GADGET_ITER(name, type, __VA_ARGS__)

#define __GADGET_ITER_N(a, b, c, n, ...) __GADGET_ITER_##n
#define __GADGET_ITER_1(name, type, a) __GADGET_MARK(gadget_iter_##name##___##type##___##a)
#define __GADGET_ITER_2(name, type, a, b) __GADGET_MARK(gadget_iter_##name##___##type##___##a##___##b)
#define __GADGET_ITER_3(name, type, a, b, c) __GADGET_MARK(gadget_iter_##name##___##type##___##a##___##b##___##c)

/**
 * A hash map that user space reads and empties at intervals; key and value are structs, and become one row.
 *
 * @name the data source's name
 * @mapname a BPF_MAP_TYPE_HASH
 */
#define GADGET_MAPITER(name, mapname) __GADGET_MARK(gadget_mapiter_##name##___##mapname)

/** Gives a program of section iter/bpf_map_elem the map that it goes through. */
#define GADGET_ITER_TARGET_MAP(prog_name, mapname) \
	__GADGET_MARK(gadget_mapelem_iter_target_##prog_name##___##mapname)

/** Gives a program of section sk_skb/... or sk_msg the sockmap or sockhash that it is attached to. */
#define GADGET_SK_TARGET_MAP(prog_name, mapname) __GADGET_MARK(gadget_sk_prog_target_##prog_name##___##mapname)

#endif
