// Gadgets written as the first documentation of the helper API shows them: compiled, and run on both kinds of buffers.
import t from 'tap';
import { Kernel } from '../../src/bpf/kernel/kernel.ts';
import { hostContext } from '../../src/enrich/context.ts';
import { openGadget } from '../../src/gadget/gadget.ts';
import { GadgetRun } from '../../src/gadget/run.ts';
import type { RunResult } from '../../src/gadget/run-options.ts';
import { defaultSys } from '../../src/sys/default-sys.ts';
import { BpfCompiler, hasCompiler } from '../support/compile.ts';
import { namespaceOf } from '../support/process.ts';

// Slow machines take their time.
t.setTimeout(110_000);

const sys = defaultSys();
// asm/unistd_64.h, asm-generic/unistd.h
const umask = sys.arch === 'x64' ? 95 : 166;

type Row = Record<string, unknown>;

const enriched = `
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <gadget/buffer.h>
#include <gadget/macros.h>
#include <gadget/mntns.h>
#include <gadget/mntns_filter.h>
#include <gadget/types.h>

struct event {
        struct gadget_l3endpoint_t  field1;
        struct gadget_l4endpoint_t  field2;
        gadget_mntns_id             field3;
        gadget_timestamp            field4;
};

const volatile __u32 own_pid = 0;
GADGET_PARAM(own_pid);

GADGET_TRACER_MAP(events, 1024 * 256);

GADGET_TRACER(exit, events, event);

static __always_inline int trace_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct event *event;
	u64 mntns_id;
	mntns_id = gadget_get_mntns_id();

	if (gadget_should_discard_mntns_id(mntns_id))
		return 0;

	event = gadget_reserve_buf(&events, sizeof(*event));
	if (!event)
		goto cleanup;

	__builtin_memset(event, 0, sizeof(*event));
	event->field1.addr_raw.v4 = bpf_htonl(0x01020304);
	event->field1.version = 4;
	event->field2.addr_raw.v6[15] = 1;
	event->field2.version = 6;
	event->field2.port = 443;
	event->field2.proto_raw = 6;
	event->field3 = mntns_id;
	event->field4 = bpf_ktime_get_boot_ns();

	gadget_submit_buf(ctx, &events, event, sizeof(*event));
cleanup:
	return 0;
}

SEC("raw_tp/sys_enter")
int enter(struct bpf_raw_tracepoint_args *ctx)
{
	if (bpf_get_current_pid_tgid() >> 32 != own_pid || ctx->args[1] != ${umask})
		return 0;
	return trace_exit(ctx);
}
char LICENSE[] SEC("license") = "GPL";
`;

// With a map that is a \`void *\`, as the documented functions take it, and a length that varies.
const untyped = `
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#define GADGET_NO_BUF_RESERVE
#include <gadget/buffer.h>
#include <gadget/macros.h>
#include <gadget/types.h>

struct event {
	__u32 pid;
	__u32 length;
	char args[64];
};

const volatile __u32 own_pid = 0;
GADGET_PARAM(own_pid);

GADGET_TRACER_MAP(events, 4096);

GADGET_TRACER(exec, events, event);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, u32);
	__type(value, struct event);
} execs SEC(".maps");

static const struct event empty_event;

SEC("raw_tp/sys_enter")
int enter(struct bpf_raw_tracepoint_args *ctx)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	void *map = &events;
	struct event *event;
	u32 len;

	if (pid != own_pid || ctx->args[1] != ${umask})
		return 0;
	bpf_map_update_elem(&execs, &pid, &empty_event, 0);
	event = bpf_map_lookup_elem(&execs, &pid);
	if (!event)
		return 0;
	event->pid = pid;
	event->length = 16;
	__builtin_memset(event->args, 'x', 8);
	len = 16;

	if (len <= sizeof(*event))
		gadget_output_buf(ctx, map, event, len);

	return 0;
}
char LICENSE[] SEC("license") = "GPL";
`;

async function run(
  object: Uint8Array,
  buffer: 'ringbuf' | 'perf',
  calls: number,
  pause = false,
): Promise<{ readonly rows: readonly Row[]; readonly result: RunResult }> {
  const kernel = new Kernel({ buffer });
  try {
    const gadget = openGadget({ object, name: 'seed', context: hostContext(sys) });
    const rows: Row[] = [];
    const gadgetRun = new GadgetRun(gadget, { kernel, params: new Map([['own_pid', process.pid]]) });
    gadgetRun.start({ event: (source, record) => void rows.push(source.decode(record)) });
    if (pause) gadgetRun.pause();
    for (let i = 0; i < calls; i++) sys.call('umask', 0o22);
    gadgetRun.stop();
    return { rows, result: await gadgetRun.done };
  } finally {
    kernel.close();
  }
}

for (const clang of ['clang-14', 'clang-19']) {
  void t.test(`documented gadgets run: ${clang}`, { skip: hasCompiler(clang) ? false : `${clang} is not installed` }, async (t) => {
    const compiler = new BpfCompiler({ clang });
    t.teardown(() => compiler.close());
    for (const buffer of ['ringbuf', 'perf'] as const) {
      const first = compiler.compile(enriched);
      if (first.object === null) throw new Error(first.stderr);
      const from = Date.now();
      const { rows, result } = await run(first.object, buffer, 5);
      t.same(result.counters, { received: 5, delivered: 5, lost: 0, discarded: 0 }, `${buffer}: counters`);
      for (const row of rows) {
        t.match(
          row,
          {
            field1: { addr: '1.2.3.4', version: 4 },
            field2: { addr: '::1', port: 443, proto: 'TCP', proto_raw: 6, version: 6 },
            field3: BigInt(namespaceOf('mnt')),
          },
          `${buffer}: enriched types`,
        );
        const ms = Number((row['field4'] as bigint) / 1_000_000n);
        t.ok(ms >= from - 20 && ms <= Date.now() + 20, `${buffer}: time since the epoch`);
      }

      const second = compiler.compile(untyped);
      if (second.object === null) throw new Error(second.stderr);
      const sent = await run(second.object, buffer, 3);
      t.same(sent.rows, Array(3).fill({ pid: process.pid, length: 16, args: 'xxxxxxxx' }), `${buffer}: any length`);
      // Nothing is read meanwhile: most find no room, and are counted although the map is known as void * only.
      const crowded = await run(second.object, buffer, 20_000, true);
      const { received, lost } = crowded.result.counters;
      t.ok((lost ?? 0) > 0, `${buffer}: ${lost} lost`);
      t.equal(received + (lost ?? 0), 20_000, `${buffer}: attempts are received plus lost`);
    }
  });
}

void t.test('names of the first releases', { skip: hasCompiler('clang-19') ? false : 'clang-19 is not installed' }, async (t) => {
  const compiler = new BpfCompiler();
  t.teardown(() => compiler.close());
  // gadget_get_mntns_id() came with the filter, and what it returns had another name.
  const older = enriched.replace('#include <gadget/mntns.h>\n', '').replace('gadget_mntns_id  ', 'mnt_ns_id_t  ');
  t.notMatch(older, /mntns\.h|gadget_mntns_id  /, 'the older names alone');
  const { object, stderr } = compiler.compile(older);
  if (object === null) throw new Error(stderr);
  const { rows } = await run(object, 'ringbuf', 2);
  for (const row of rows) t.match(row, { field3: BigInt(namespaceOf('mnt')) });
  t.equal(rows.length, 2);
});
