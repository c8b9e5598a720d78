// Kinds of gadgets that no built-in gadget is of, and declarations that are wrong: compiled here, run in this process.
import t from 'tap';
import { Kernel } from '../../src/bpf/kernel/kernel.ts';
import { hostContext } from '../../src/enrich/context.ts';
import { openGadget, type Gadget } from '../../src/gadget/gadget.ts';
import { GadgetRun } from '../../src/gadget/run.ts';
import type { RunOptions, RunResult } from '../../src/gadget/run-options.ts';
import { compileFilter } from '../../src/output/filter.ts';
import { createBackend, defaultSys } from '../../src/sys/default-sys.ts';
import { FaultInjector, type Fault } from '../../src/sys/fault-injector.ts';
import { Sys } from '../../src/sys/sys.ts';
import { possibleCpuCount } from '../../src/sys/cpus.ts';
import { BpfCompiler } from '../support/compile.ts';

// Slow machines take their time.
t.setTimeout(110_000);

const compiler = new BpfCompiler();
t.teardown(() => compiler.close());
const sys = defaultSys();

const head = `
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <gadget/buffer.h>
#include <gadget/macros.h>
#include <gadget/types.h>
char LICENSE[] SEC("license") = "GPL";
const volatile __u32 own_pid = 0;
GADGET_PARAM(own_pid);
static __always_inline __attribute__((unused)) bool is_own(void) { return bpf_get_current_pid_tgid() >> 32 == own_pid; }
`;

/** asm/unistd_64.h, asm-generic/unistd.h */
const umask = sys.arch === 'x64' ? 95 : 166;
const call = (times: number): void => {
  for (let i = 0; i < times; i++) sys.call('umask', 0o22);
};

function gadgetOf(source: string, notices: string[] = []): Gadget {
  const { object, stderr } = compiler.compile(head + source);
  if (object === null) throw new Error(stderr);
  return openGadget({ object, name: 'made', context: hostContext(sys), notice: (message) => notices.push(message) });
}

type Row = Record<string, unknown>;

/** Runs a gadget, `work` in between; gives the rows of each data source. */
async function rowsOf(
  gadget: Gadget,
  work: () => void | Promise<void>,
  options: RunOptions = {},
): Promise<{ readonly rows: ReadonlyMap<string, readonly Row[]>; readonly result: RunResult }> {
  const rows = new Map<string, Row[]>(gadget.sources.map(({ name }) => [name, []]));
  const run = new GadgetRun(gadget, { params: new Map([['own_pid', process.pid]]), ...options });
  run.start({
    event: (source, record) => void rows.get(source.name)?.push(source.decode(record)),
    batch: (source, records) => {
      for (const record of records) rows.get(source.name)?.push(source.decode(record));
    },
  });
  await work();
  run.stop();
  return { rows, result: await run.done };
}

const perCpu = `
struct who { __u32 nr; };
struct total { __u64 calls; __u32 last; __u32 __pad; };
struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 64); __type(key, struct who); __type(value, struct total); } totals SEC(".maps");
GADGET_MAPITER(totals, totals);
SEC("raw_tp/sys_enter") int enter(struct bpf_raw_tracepoint_args *ctx)
{
	struct who who = { .nr = ctx->args[1] };
	struct total one = { .calls = 1, .last = 7 }, *total;
	if (!is_own() || who.nr != ${umask}) return 0;
	total = bpf_map_lookup_elem(&totals, &who);
	if (total) { total->calls++; total->last = 7; } else bpf_map_update_elem(&totals, &who, &one, 0);
	return 0;
}`;

void t.test('a map with values for each CPU: a row for each', async (t) => {
  const annotate = { intervalMs: 20 };
  const gadget = gadgetOf(perCpu);
  t.same(
    gadget.sources[0]?.fields.map(({ name }) => name),
    ['nr', 'calls', 'last', 'cpu'],
  );
  const { rows } = await rowsOf(
    gadget,
    async () => {
      for (let i = 0; i < 5; i++) {
        call(20);
        await new Promise((resolve) => setTimeout(resolve, 30));
      }
    },
    annotate,
  );
  const all = rows.get('totals') ?? [];
  // The last ones may still be in the map: it is not emptied at the end.
  const calls = all.reduce((sum, row) => sum + Number(row['calls']), 0);
  t.ok(calls >= 20 && calls <= 100 && calls % 20 === 0, `${calls} calls`);
  t.ok(all.every((row) => row['nr'] === umask && row['last'] === 7 && Number(row['cpu']) < possibleCpuCount()));
});

const oneBucket = `
struct who { __u64 id; };
struct total { __u64 calls; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 2000); __type(key, struct who); __type(value, struct total); } totals SEC(".maps");
GADGET_MAPITER(totals, totals);
static __u64 next;
SEC("raw_tp/sys_enter") int enter(struct bpf_raw_tracepoint_args *ctx)
{
	struct who who = {};
	struct total one = { .calls = 1 };
	if (!is_own() || ctx->args[1] != ${umask}) return 0;
	/* One process calls; additions that give the old value are of Linux 5.12. */
	who.id = next++;
	bpf_map_update_elem(&totals, &who, &one, 0);
	return 0;
}`;

/** A kernel where some calls fail. */
function kernelWith(...faults: readonly Fault[]): Kernel {
  const real = createBackend();
  return new Kernel({ sys: new Sys(new FaultInjector(real, sys.arch, faults), sys.arch) });
}

void t.test('maps are emptied whatever the kernel can do', async (t) => {
  for (const [what, faults] of [
    ['batches', []],
    [
      'buckets larger than a batch',
      [
        {
          when: ({ command }: { readonly command: string | null }) => command === 'BPF_MAP_LOOKUP_AND_DELETE_BATCH',
          errno: 'ENOSPC',
          times: 3,
        },
      ],
    ],
    [
      'no batches (before 5.6)',
      [{ when: ({ command }: { readonly command: string | null }) => command?.endsWith('_BATCH') === true, errno: 'EINVAL' }],
    ],
    [
      'neither batches nor taking one out (another kernel)',
      [
        {
          when: ({ command }: { readonly command: string | null }) =>
            command?.endsWith('_BATCH') === true || command === 'BPF_MAP_LOOKUP_AND_DELETE_ELEM',
          errno: 'EINVAL',
        },
      ],
    ],
    [
      'neither batches nor taking one out (before 5.14)',
      [
        {
          when: ({ command }: { readonly command: string | null }) =>
            command?.endsWith('_BATCH') === true || command === 'BPF_MAP_LOOKUP_AND_DELETE_ELEM',
          errno: 'ENOTSUPP',
        },
      ],
    ],
  ] as readonly (readonly [string, readonly Fault[]])[]) {
    const kernel = kernelWith(...faults);
    t.teardown(() => kernel.close());
    let batches = 0;
    let twice = 0;
    const seen = new Set<bigint>();
    const run = new GadgetRun(gadgetOf(oneBucket), { kernel, params: new Map([['own_pid', process.pid]]), intervalMs: 10 });
    run.start({
      event() {},
      batch(source, records) {
        batches++;
        for (const record of records) {
          const { id } = source.decode(record) as { readonly id: bigint };
          if (seen.has(id)) twice++;
          seen.add(id);
        }
      },
    });
    call(700);
    const until = batches + 2;
    while (batches < until) await new Promise((resolve) => setTimeout(resolve, 10));
    run.stop();
    await run.done;
    t.same([seen.size, twice], [700, 0], `${what}: every entry, once`);
  }
});

const target = `
struct pair { __u32 key; __u64 value; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16); __type(key, __u32); __type(value, __u64); } pairs SEC(".maps");
GADGET_ITER(pairs, pair, walk);
GADGET_ITER_TARGET_MAP(walk, pairs);
SEC("raw_tp/sys_enter") int enter(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 key = 1;
	__u64 value = 11;
	if (!is_own() || ctx->args[1] != ${umask}) return 0;
	bpf_map_update_elem(&pairs, &key, &value, 0);
	key = 2; value = 22;
	bpf_map_update_elem(&pairs, &key, &value, 0);
	return 0;
}
SEC("iter/bpf_map_elem") int walk(struct bpf_iter__bpf_map_elem *ctx)
{
	__u32 *key = ctx->key;
	__u64 *value = ctx->value;
	struct pair pair = {};
	if (!key || !value) return 0;
	pair.key = *key; pair.value = *value;
	bpf_seq_write(ctx->meta->seq, &pair, sizeof(pair));
	return 0;
}`;

void t.test('GADGET_ITER_TARGET_MAP: an iterator over the elements of a map', async (t) => {
  const { rows } = await rowsOf(
    gadgetOf(target),
    async () => {
      call(1);
      await new Promise((resolve) => setTimeout(resolve, 50));
    },
    { intervalMs: 10 },
  );
  const last = rows.get('pairs')?.slice(-2) ?? [];
  t.same(
    last.map((row) => [row['key'], row['value']]).toSorted(([a], [b]) => Number(a) - Number(b)),
    [
      [1, 11n],
      [2, 22n],
    ],
  );
});

const sockets = `
struct { __uint(type, BPF_MAP_TYPE_SOCKHASH); __uint(max_entries, 16); __type(key, __u32); __type(value, __u32); } socks SEC(".maps");
struct event { __u32 length; };
GADGET_TRACER_MAP(events, 64 * 1024);
GADGET_TRACER(verdicts, events, event);
GADGET_SK_TARGET_MAP(verdict, socks);
SEC("sk_skb/stream_verdict") int verdict(struct __sk_buff *skb)
{
	return SK_PASS;
}`;

void t.test('GADGET_SK_TARGET_MAP: a program attached to a map of sockets', async (t) => {
  const run = new GadgetRun(gadgetOf(sockets));
  run.start({ event() {} });
  t.same(run.attached, ['sockmap socks']);
  run.stop();
  await run.done;
});

const two = `
struct small { __u32 pid; __u32 nr; };
struct large { __u32 pid; __u32 nr; char name[16]; __u64 more; };
GADGET_TRACER_MAP(few, 64 * 1024);
GADGET_TRACER_MAP(many, 64 * 1024);
GADGET_TRACER(small, few, small);
GADGET_TRACER(large, many, large);
SEC("raw_tp/sys_enter") int enter(struct bpf_raw_tracepoint_args *ctx)
{
	struct large large = { .pid = bpf_get_current_pid_tgid() >> 32, .nr = ctx->args[1], .name = "abcdefghijklmno", .more = 5 };
	struct small small = { .pid = large.pid, .nr = large.nr };
	if (!is_own() || ctx->args[1] != ${umask}) return 0;
	gadget_output_buf(ctx, &few, &small, sizeof(small));
	// Shorter than its struct: what is missing is zero. Longer: what is more is left.
	gadget_output_buf(ctx, &many, &large, 12);
	gadget_output_buf(ctx, &many, &large, sizeof(large));
	struct { struct large large; __u64 rest[4]; } longer = { .large = large, .rest = { -1, -1, -1, -1 } };
	gadget_output_buf(ctx, &many, &longer, sizeof(longer));
	return 0;
}`;

void t.test('two tracers in one object, and events that are shorter and longer than their struct', async (t) => {
  for (const buffer of ['ringbuf', 'perf'] as const) {
    const kernel = new Kernel({ buffer });
    t.teardown(() => kernel.close());
    const { rows, result } = await rowsOf(gadgetOf(two), () => call(3), { kernel });
    t.same(result.counters, { received: 12, delivered: 12, lost: 0, discarded: 0 }, buffer);
    t.same(rows.get('small'), Array(3).fill({ pid: process.pid, nr: umask }), buffer);
    const whole = { pid: process.pid, nr: umask, name: 'abcdefghijklmno', more: 5n };
    // Perf records are padded to 8 bytes: a short event may have more than was sent, never less.
    const short = rows.get('large')?.filter((row) => row['more'] === 0n) ?? [];
    t.equal(short.length, 3, `${buffer}: short events`);
    for (const row of short) t.match(row, { pid: process.pid, nr: umask, name: /^abcd/, more: 0n });
    t.same(
      rows.get('large')?.filter((row) => row['more'] !== 0n),
      Array(6).fill(whole),
      buffer,
    );
  }
});

const large = (reserve: boolean): string => `
struct big { __u32 pid; char data[69996]; };
GADGET_TRACER_MAP(events, 1024 * 1024);
GADGET_TRACER(big, events, big);
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct big); } made SEC(".maps");
const volatile __u32 length = 0;
GADGET_PARAM(length);
SEC("raw_tp/sys_enter") int enter(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 zero __attribute__((unused)) = 0;
	struct big *big;
	if (!is_own() || ctx->args[1] != ${umask}) return 0;
	${
    reserve
      ? 'big = gadget_reserve_buf(&events, sizeof(*big)); if (!big) return 0; big->pid = own_pid; gadget_submit_buf(ctx, &events, big, sizeof(*big));'
      : 'big = bpf_map_lookup_elem(&made, &zero); if (!big) return 0; big->pid = own_pid; if (length <= sizeof(*big)) gadget_output_buf(ctx, &events, big, length);'
  }
	return 0;
}`;

void t.test('records over 64 KiB', async (t) => {
  const reserving = compiler.compile(
    `#define GADGET_MAX_EVENT_SIZE 70000${head}${large(true)}`.replace('#include <vmlinux.h>', '\n#include <vmlinux.h>'),
  );
  for (const buffer of ['ringbuf', 'perf'] as const) {
    const kernel = new Kernel({ buffer });
    t.teardown(() => kernel.close());
    for (const [length, fits] of [
      [65_503, true],
      [65_540, buffer === 'ringbuf'],
    ] as const) {
      const notices: string[] = [];
      const params = new Map([
        ['own_pid', process.pid],
        ['length', length],
      ]);
      const { rows, result } = await rowsOf(gadgetOf(large(false)), () => call(2), {
        kernel,
        params,
        notice: (message) => notices.push(message),
      });
      t.same(
        result.counters,
        { received: fits ? 2 : 0, delivered: fits ? 2 : 0, lost: fits ? 0 : 2, discarded: 0 },
        `${buffer}: ${length} bytes`,
      );
      t.ok(rows.get('big')?.every((row) => row['pid'] === process.pid));
      t.equal(
        notices.some((notice) => notice.includes('up to 70000 bytes')),
        buffer === 'perf',
        `${buffer}: told`,
      );
    }
    if (reserving.object === null) throw new Error(reserving.stderr);
    const gadget = openGadget({ object: reserving.object, name: 'made', context: hostContext(sys) });
    if (buffer === 'ringbuf') t.equal((await rowsOf(gadget, () => call(2), { kernel })).result.counters.received, 2);
    else t.throws(() => new GadgetRun(gadget, { kernel }).start({ event() {} }), { code: 'E_GADGET_EVENT_SIZE' });
  }
});

void t.test('filters of a field that only one of several data sources has', async (t) => {
  const gadget = gadgetOf(two);
  const { rows } = await rowsOf(gadget, () => call(2), { filter: (source) => compileFilter(source, 'more==5', gadget.sources) });
  t.equal(rows.get('large')?.length, 4);
  t.equal(rows.get('small')?.length, 2, 'the filter says nothing of these');
  const named = await rowsOf(gadget, () => call(2), { filter: (source) => compileFilter(source, 'small:pid==0,nr>0', gadget.sources) });
  t.same([named.rows.get('large')?.length, named.rows.get('small')?.length], [6, 0], 'with the name of a source');
  const [first] = gadget.sources;
  if (first === undefined) return;
  t.throws(() => compileFilter(first, 'nothing==1', gadget.sources), { code: 'E_FIELD' });
  t.throws(() => compileFilter(first, 'smal:pid==1', gadget.sources), { code: 'E_FIELD' });
});

void t.test('declarations that are wrong', (t) => {
  const broken = (what: string, source: string, expected: { readonly code: string; readonly message?: RegExp }): void => {
    const { object, stderr } = compiler.compile(head + source);
    if (object === null) throw new Error(stderr);
    t.throws(() => openGadget({ object, name: 'made', context: hostContext(sys) }), expected, what);
  };
  const program = 'SEC("raw_tp/sys_enter") int enter(void *ctx) { return 0; }\n';
  const event = 'struct event { __u32 pid; };\nconst struct event *unused __attribute__((unused));\n';
  broken('a map that is not there', `${event}${program}const void *gadget_tracer_open___evnts___event;`, {
    code: 'E_GADGET_MAP',
    message: /evnts/,
  });
  broken('a struct that is not there', `GADGET_TRACER_MAP(events, 4096);\n${program}const void *gadget_tracer_open___events___evnt;`, {
    code: 'E_GADGET_EVENT',
  });
  broken('a program that is not there', `${event}${program}const void *gadget_iter_rows___event___walk;`, { code: 'E_GADGET_PROGRAM' });
  broken(
    'two tracers on one map',
    `${event}GADGET_TRACER_MAP(events, 4096);\n${program}GADGET_TRACER(one, events, event); GADGET_TRACER(two, events, event);`,
    {
      code: 'E_GADGET_MAP',
      message: /two tracers write to one map/,
    },
  );
  broken(
    'two of one name',
    `${event}GADGET_TRACER_MAP(a, 4096); GADGET_TRACER_MAP(b, 4096);\n${program}GADGET_TRACER(one, a, event); const void *gadget_tracer_one___b___event;`,
    {
      code: 'E_GADGET_DECLARATION',
    },
  );
  broken('parts that are missing', `${event}${program}const void *gadget_tracer_open___events;`, { code: 'E_GADGET_DECLARATION' });
  t.end();
});
