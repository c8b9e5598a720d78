import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { Kernel, loadCollection } from '../../src/bpf/index.ts';
import { openObject } from '../../src/bpf/object/index.ts';
import { discoverGadget } from '../../src/gadget/index.ts';
import { BpfCompiler, compileBpf, hasCompiler } from '../support/compile.ts';

// Slow machines take their time.
t.setTimeout(110_000);

const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-helper-api-'));
t.teardown(() => rmSync(folder, { recursive: true }));

const rawbpf = fileURLToPath(new URL('../../src/cli/rawbpf.js', import.meta.url));
const compilers = ['clang-14', 'clang-19'];
const systemHeaders = ['-I/usr/include/x86_64-linux-gnu', '-I/usr/include/aarch64-linux-gnu'];

/** A program around what the documentation of the helper API shows, line by line as it is there. */
interface Program {
  readonly what: string;
  readonly source: string;
  readonly flags?: readonly string[];
  /** False where the map's layout comes from whoever keeps it up to date. */
  readonly loads?: boolean;
}

const tracing = '#include <vmlinux.h>\n#include <bpf/bpf_helpers.h>\n';
const networking = '#include <linux/types.h>\n#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n';
const license = 'char LICENSE[] SEC("license") = "GPL";\n';

const programs: readonly Program[] = [
  {
    what: 'container enrichment and filtering',
    source: `${tracing}
#include <gadget/buffer.h>
#include <gadget/macros.h>
#include <gadget/mntns.h>
#include <gadget/mntns_filter.h>

struct event {
        gadget_mntns_id mntns_id;
        /* other fields */
};

GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(exit, events, event);

SEC("tracepoint/sched/sched_process_exit")
int on_exit(void *ctx)
{
        struct event event = {};
        u64 mntns_id;
        mntns_id = gadget_get_mntns_id();

        if (gadget_should_discard_mntns_id(mntns_id))
                return 0;

        event.mntns_id = mntns_id;
        gadget_output_buf(ctx, &events, &event, sizeof(event));
        return 0;
}
${license}`,
  },
  {
    what: 'enriched types',
    source: `${tracing}
#include <gadget/types.h>

struct event {
        struct gadget_l3endpoint_t  field1;
        struct gadget_l4endpoint_t  field2;
        gadget_mntns_id             field3;
        gadget_timestamp            field4;
};

struct event last;

SEC("tracepoint/sched/sched_process_exit")
int on_exit(void *ctx)
{
        last.field4 = bpf_ktime_get_boot_ns();
        return 0;
}
${license}`,
  },
  {
    what: 'reserve and submit',
    source: `${tracing}
#include <bpf/bpf_tracing.h>
#include <gadget/macros.h>
#include <gadget/types.h>
#include <gadget/buffer.h>

/* ... */

struct event {
        gadget_timestamp timestamp_raw;
};

struct syscall_trace_exit {
	struct trace_entry ent;
	int nr;
	long ret;
};

GADGET_TRACER_MAP(events, 1024 * 256);

GADGET_TRACER(exit, events, event);

/* ... */

static __always_inline int trace_exit(struct syscall_trace_exit *ctx)
{
	struct event *event;

	/* ... */

	event = gadget_reserve_buf(&events, sizeof(*event));
	if (!event)
		goto cleanup;

	/* fill the event here */
	event->timestamp_raw = bpf_ktime_get_boot_ns();

	/* ... */
	gadget_submit_buf(ctx, &events, event, sizeof(*event));

	/* ... */
cleanup:
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_openat")
int on_exit(struct syscall_trace_exit *ctx)
{
	return trace_exit(ctx);
}
${license}`.replace('struct syscall_trace_exit {\n\tstruct trace_entry ent;\n\tint nr;\n\tlong ret;\n};\n', ''),
  },
  {
    what: 'output without reserve',
    source: `${tracing}
#define GADGET_NO_BUF_RESERVE
#include <gadget/buffer.h>
#include <gadget/macros.h>
#include <gadget/types.h>

/* ... */

struct event {
	gadget_timestamp timestamp_raw;
	char args[100];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, pid_t);
	__type(value, struct event);
} execs SEC(".maps");

GADGET_TRACER_MAP(events, 1024 * 256);

GADGET_TRACER(exec, events, event);

/* ... */

SEC("tracepoint/syscalls/sys_exit_execve")
int ig_execve_x(struct syscall_trace_exit *ctx)
{
	/* ... */
	struct event *event;
	pid_t pid = bpf_get_current_pid_tgid();
	u64 len;

	/* ... */

	event = bpf_map_lookup_elem(&execs, &pid);
	if (!event)
		return 0;

	/* ... */
	len = ctx->ret & 127;

	if (len <= sizeof(*event))
		gadget_output_buf(ctx, &events, event, len);

	/* ... */
	return 0;
}
${license}`,
  },
  {
    what: 'the four functions with their documented types',
    source: `${tracing}
#include <gadget/buffer.h>
#include <gadget/macros.h>

struct event {
	__u64 number;
};

GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(exit, events, event);

SEC("tracepoint/sched/sched_process_exit")
int on_exit(void *ctx)
{
	void *map = &events;
	__u64 size = sizeof(struct event);
	void *buf = gadget_reserve_buf(map, size);
	struct event event = {};
	long result;

	if (!buf)
		return 0;
	*(__u64 *)buf = 1;
	result = gadget_submit_buf(ctx, map, buf, size);
	buf = gadget_reserve_buf(map, size);
	if (buf)
		gadget_discard_buf(buf);
	if (result)
		result = gadget_output_buf(ctx, map, &event, size);
	return result != 0;
}
${license}`,
  },
  {
    what: 'socket enrichment of a socket filter',
    loads: false,
    flags: systemHeaders,
    source: `${networking}
#define GADGET_TYPE_NETWORKING
#include <gadget/sockets-map.h>

__u64 last_mntns;

SEC("socket1")
int on_packet(struct __sk_buff *skb)
{
	struct sockets_value *skb_val = gadget_socket_lookup(skb);
	if (skb_val != NULL) {
		/* Access skb_val->mntns and other fields */
		last_mntns = skb_val->mntns + skb_val->pid_tgid + skb_val->uid_gid + skb_val->task[TASK_COMM_LEN - 1];
	}
	return 0;
}
${license}`,
  },
  {
    what: 'socket enrichment of other programs',
    loads: false,
    source: `${tracing}
#define GADGET_TYPE_TRACING
#include <gadget/sockets-map.h>

__u64 last_mntns;

SEC("raw_tp/tcp_destroy_sock")
int on_destroy(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (struct sock *)ctx->args[0];
	__u32 netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	struct sockets_value *skb_val = gadget_socket_lookup(sk, netns);
	if (skb_val != NULL) {
		/* Access skb_val->mntns and other fields */
		last_mntns = skb_val->mntns;
	}
	return 0;
}
${license}`,
  },
];

void t.test('what the documentation shows compiles and loads', (t) => {
  for (const [i, { what, source, flags, loads }] of programs.entries()) {
    for (const clang of compilers.filter(hasCompiler)) {
      const { object, stderr } = compileBpf(source, { clang, ...(flags === undefined ? {} : { flags }) });
      t.ok(object, `${what}: ${clang}\n${stderr}`);
      if (object === null || loads === false) continue;
      const file = path.join(folder, `${i}.bpf.o`);
      writeFileSync(file, object);
      const check = spawnSync(process.execPath, [rawbpf, 'check', file], { encoding: 'utf8' });
      t.equal(check.status, 0, `${what}: ${clang}\n${check.stdout}${check.stderr}`);
    }
  }
  t.end();
});

/** Sizes and offsets that user space depends on, from the contract that gadgets are written for. */
const layouts = `
#include <gadget/types.h>
#include <gadget/macros.h>
#define AT(type, member, offset) _Static_assert(__builtin_offsetof(type, member) == offset, #type "." #member)
#define SIZE(type, size) _Static_assert(sizeof(type) == size, #type)
SIZE(union gadget_ip_addr_t, 16);
SIZE(struct gadget_l3endpoint_t, 32);
AT(struct gadget_l3endpoint_t, version, 16);
SIZE(struct gadget_l4endpoint_t, 32);
AT(struct gadget_l4endpoint_t, port, 16);
AT(struct gadget_l4endpoint_t, proto_raw, 18);
AT(struct gadget_l4endpoint_t, version, 20);
SIZE(struct gadget_creds, 8);
AT(struct gadget_creds, gid, 4);
SIZE(struct gadget_parent, 24);
AT(struct gadget_parent, pid, 16);
AT(struct gadget_parent, tid, 20);
SIZE(struct gadget_process, 64);
AT(struct gadget_process, pid, 16);
AT(struct gadget_process, tid, 20);
AT(struct gadget_process, mntns_id, 24);
AT(struct gadget_process, creds, 32);
AT(struct gadget_process, parent, 40);
SIZE(struct gadget_user_stack, 72);
AT(struct gadget_user_stack, inode, 8);
AT(struct gadget_user_stack, mtime_sec, 16);
AT(struct gadget_user_stack, mtime_nsec, 24);
AT(struct gadget_user_stack, base_addr_hash, 28);
AT(struct gadget_user_stack, stack_id, 32);
AT(struct gadget_user_stack, pidns_level1, 52);
AT(struct gadget_user_stack, otel_correlation_id, 56);
AT(struct gadget_user_stack, boot_timestamp, 64);
SIZE(struct gadget_socket_value, 8280);
AT(struct gadget_socket_value, uid_gid, 16);
AT(struct gadget_socket_value, task, 24);
AT(struct gadget_socket_value, ptask, 40);
AT(struct gadget_socket_value, sock, 56);
AT(struct gadget_socket_value, deletion_timestamp, 64);
AT(struct gadget_socket_value, ppid, 72);
AT(struct gadget_socket_value, ptid, 76);
AT(struct gadget_socket_value, ipv6only, 80);
AT(struct gadget_socket_value, optional_fields_start, 88);
AT(struct gadget_socket_value, cwd, 88);
AT(struct gadget_socket_value, exepath, 4184);
SIZE(gadget_mntns_id, 8);
SIZE(gadget_netns_id, 4);
SIZE(gadget_timestamp, 8);
SIZE(gadget_syscall, 8);
SIZE(gadget_bytes, 8);
SIZE(gadget_duration, 8);
SIZE(gadget_errno, 4);
SIZE(gadget_comm, 1);
#define GADGET_TYPE_TRACING
#include <gadget/sockets-map.h>
SIZE(struct gadget_socket_key, 12);
AT(struct gadget_socket_key, family, 4);
AT(struct gadget_socket_key, proto, 6);
AT(struct gadget_socket_key, port, 8);
#include <gadget/gpu_types.h>
SIZE(struct gpu_meta, 32);
AT(struct gpu_meta, clock_offset_ns, 24);
SIZE(struct gpu_device_metrics, 128);
AT(struct gpu_device_metrics, throttle_reasons, 56);
AT(struct gpu_device_metrics, fan_speed_pct, 120);
SIZE(struct gpu_pid_metrics, 40);
SIZE(struct gpu_pid_metrics_aggregated, 32);
`;

void t.test('layouts', (t) => {
  for (const clang of compilers.filter(hasCompiler)) {
    for (const arch of ['amd64', 'arm64'] as const) {
      const compiler = new BpfCompiler({ clang, arch });
      const { object, stderr } = compiler.check(layouts);
      t.ok(object, `${clang} ${arch}\n${stderr}`);
      compiler.close();
    }
  }
  t.end();
});

const marks = `${tracing}
#include <gadget/macros.h>
#include <gadget/buffer.h>
#include <gadget/filter.h>

struct event { __u64 number; };
struct row { __u64 number; };
struct row_key { __u64 number; };

GADGET_TRACER_MAP(events, 4096);
GADGET_TRACER(trace, events, event);

const volatile int limit = 5;
/* With and without a semicolon. */
GADGET_PARAM(limit)

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10);
	__type(key, struct row_key);
	__type(value, struct row);
} rows SEC(".maps");
GADGET_MAPITER(top, rows);
GADGET_ITER(tasks, row, one);
GADGET_ITER(both, row, one, two);
GADGET_SNAPSHOTTER(all, row, one, two, three);
GADGET_ITER_TARGET_MAP(three, rows);

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 10);
	__type(key, __u32);
	__type(value, __u64);
} sockets SEC(".maps");
GADGET_SK_TARGET_MAP(verdict, sockets);

SEC("iter/task") int one(struct bpf_iter__task *ctx) { return 0; }
SEC("iter/task") int two(struct bpf_iter__task *ctx) { return 0; }
SEC("iter/bpf_map_elem") int three(struct bpf_iter__bpf_map_elem *ctx) { return 0; }
SEC("sk_msg") int verdict(struct sk_msg_md *ctx) { return 1; }
${license}`;

void t.test('user space finds what the macros declare', (t) => {
  const { object, stderr } = compileBpf(marks);
  if (object === null) return void t.fail(stderr);
  const contract = discoverGadget(openObject(object));
  t.match(contract.tracers, [{ name: 'trace', map: 'events', struct: 'event', lostMap: 'events_lost_samples' }]);
  t.same(contract.bufferMaps, ['events']);
  t.match(contract.mapIterators, [{ name: 'top', map: 'rows' }]);
  const iterators = contract.iterators.map(({ name, struct, programs: own }) => `${name} ${struct} ${own.join(',')}`);
  t.same(iterators.toSorted(), ['all row one,two,three', 'both row one,two', 'tasks row one']);
  t.same(contract.params.map(({ variable }) => variable.name).toSorted(), [
    'limit',
    'targ_comm',
    'targ_gid',
    'targ_pid',
    'targ_tid',
    'targ_uid',
  ]);
  t.same(contract.iteratorTargets, [{ program: 'three', map: 'rows' }]);
  t.same(contract.socketTargets, [{ program: 'verdict', map: 'sockets' }]);
  t.ok(contract.filtersByMntns);
  t.end();
});

const arithmetic = `${tracing}
#include <gadget/bits.bpf.h>
#include <gadget/fnv1a.h>
#include <gadget/maps.bpf.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} small SEC(".maps");

u64 results[16] = { 1 };

SEC("raw_tp/sched_switch")
int compute(void *ctx)
{
	u32 hash32 = fnv_32a_init(), key = 1;
	u64 hash64 = fnv_64a_init(), init = 5, *value;
	const char text[] = "foobar";

	for (int i = 0; i < 6; i++) {
		fnv_32a_update_u8(&hash32, text[i]);
		fnv_64a_update_u8(&hash64, text[i]);
	}
	results[0] = hash32;
	results[1] = hash64;
	/* The same bytes: "foob", then "ar". */
	hash32 = fnv_32a_init();
	fnv_32a_update_u32(&hash32, 0x626f6f66);
	fnv_32a_update_u16(&hash32, 0x7261);
	results[2] = hash32;
	hash64 = fnv_64a_init();
	fnv_64a_update_u16(&hash64, 0x6f66);
	fnv_64a_update_u32(&hash64, 0x7261626f);
	results[3] = hash64;
	results[4] = get_slot_idx(0);
	results[5] = get_slot_idx(1);
	results[6] = get_slot_idx(1023);
	results[7] = get_slot_idx(1024);
	results[8] = get_slot_idx(1ULL << 40);
	results[9] = get_slot_idx(~0ULL);
	results[10] = log2(65536);

	value = bpf_map_lookup_or_try_init(&small, &key, &init);
	if (value)
		results[11] = (*value)++;
	value = bpf_map_lookup_or_try_init(&small, &key, &init);
	if (value)
		results[12] = *value;
	/* No room for a second key. */
	key = 2;
	results[13] = bpf_map_lookup_or_try_init(&small, &key, &init) == NULL;
	return 0;
}
${license}`;

void t.test('arithmetic and maps', (t) => {
  const { object, stderr } = compileBpf(arithmetic);
  if (object === null) return void t.fail(stderr);
  const collection = loadCollection(new Kernel(), openObject(object));
  t.teardown(() => collection.close());
  collection.program('compute').testRun();
  const results = collection.variable('results').get() as readonly bigint[];
  // The hashes of "foobar" among the test vectors of the algorithm's authors.
  const [hash32, hash64] = [0xbf9cf968n, 0x85944171f73967e8n];
  t.same(results.slice(0, 4), [hash32, hash64, hash32, hash64], 'FNV-1a');
  t.same(results.slice(4, 11), [0n, 1n, 10n, 11n, 41n, 64n, 16n], 'histogram slots');
  t.same(results.slice(11, 14), [5n, 6n, 1n], 'lookup or init');
  t.end();
});
