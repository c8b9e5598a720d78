// SPDX-License-Identifier: GPL-2.0-only
//
// Shows each time that the kernel asks its security modules, by the hook: what it asks about can be denied there.
//
// One program for each hook, all alike; only those that are asked for are loaded. They allow everything: 0 lets the next module
// decide.

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define GADGET_NO_BUF_RESERVE
#include <gadget/buffer.h>
#include <gadget/common.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/types.h>

#include "hooks.h"

#define HOOK_NUMBER(name) name,
enum lsm_tracepoint {
	FOR_EACH_HOOK(HOOK_NUMBER)
};

struct event {
	gadget_timestamp timestamp_raw;
	struct gadget_process proc;
	enum lsm_tracepoint tracepoint_raw;
};

const volatile bool trace_all = false;
GADGET_PARAM(trace_all);

GADGET_TRACER_MAP(events, 1024 * 1024);
GADGET_TRACER(lsm, events, event);

// A function of its own: the same code in hundreds of programs would make the object large.
static __noinline int show(void *ctx, enum lsm_tracepoint tracepoint)
{
	struct event event;

	if (gadget_should_discard_data_current())
		return 0;
	__builtin_memset(&event, 0, sizeof(event));
	event.timestamp_raw = bpf_ktime_get_boot_ns();
	gadget_process_populate(&event.proc);
	event.tracepoint_raw = tracepoint;
	gadget_output_buf(ctx, &events, &event, sizeof(event));
	return 0;
}

#define HOOK_PROGRAM(name)                                   \
	const volatile bool trace_##name = false;            \
	GADGET_PARAM(trace_##name)                           \
	SEC("?lsm/" #name)                                   \
	int lsm_##name(void *ctx)                            \
	{                                                    \
		show(ctx, name);                             \
		return 0;                                    \
	}

FOR_EACH_HOOK(HOOK_PROGRAM)

char LICENSE[] SEC("license") = "GPL";
