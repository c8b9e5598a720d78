import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { compileBpf } from '../support/compile.ts';
import { traced } from '../support/run-gadget.ts';

// Slow machines take their time.
t.setTimeout(110_000);

const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-buffer-'));
t.teardown(() => rmSync(folder, { recursive: true }));

/** Compiles a gadget; gives the path of its object. */
function gadget(name: string, source: string, compiler = 'clang-19'): string {
  const { object, stderr } = compileBpf(source, { clang: compiler });
  if (object === null) throw new Error(stderr);
  const file = path.join(folder, `${name}.bpf.o`);
  writeFileSync(file, object);
  return file;
}

const head = `
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <gadget/buffer.h>
#include <gadget/macros.h>
#include <gadget/syscall.h>
#include <gadget/types.h>

const volatile __u32 caller = 0;
GADGET_PARAM(caller);

/* kill(pid, 0) by the test itself. */
static __always_inline bool is_mine(struct pt_regs *regs, long nr)
{
	return nr == (gadget_arch_is_x86() ? 62 : 129) && bpf_get_current_pid_tgid() >> 32 == caller &&
	       gadget_syscall_arg(regs, 1, false) == 0;
}
`;

/** Makes the traced call. */
function call(times: number): void {
  for (let i = 0; i < times; i++) process.kill(process.pid, 0);
}

const kinds = ['ringbuf', 'perf'] as const;

/** Ways to send an event: statements that count in \`n\` and send an \`event\`. */
const forms: Readonly<Record<string, string>> = {
  'reserve and submit': `
	struct event *event = gadget_reserve_buf(&events, sizeof(*event));
	if (!event)
		continue;
	fill(event, i);
	gadget_submit_buf(ctx, &events, event, sizeof(*event));`,
  'reserve and submit through a pointer': `
	void *map = &events;
	struct event *event = gadget_reserve_buf(map, sizeof(*event));
	if (!event)
		continue;
	fill(event, i);
	gadget_submit_buf(ctx, map, event, sizeof(*event));`,
  output: `
	struct event *event = bpf_map_lookup_elem(&scratch, &zero);
	if (!event)
		continue;
	fill(event, i);
	gadget_output_buf(ctx, &events, event, sizeof(*event));`,
  'output through a pointer': `
	void *map = &events;
	struct event *event = bpf_map_lookup_elem(&scratch, &zero);
	if (!event)
		continue;
	fill(event, i);
	gadget_output_buf(ctx, map, event, sizeof(*event));`,
};

const attempts = 200;

function flood(form: string): string {
  return `${head}
struct event {
	gadget_timestamp timestamp_raw;
	__u64 number;
	__u32 twice;
	char text[4000];
	__u32 last;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct event);
} scratch SEC(".maps");

GADGET_TRACER_MAP(events, 1024 * 64);
GADGET_TRACER(flood, events, event);

static __always_inline void fill(struct event *event, __u32 i)
{
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	event->number = i;
	event->twice = 2 * i;
	event->text[0] = 'x';
	event->text[1] = '\\0';
	event->last = 3 * i;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(on_call, struct pt_regs *regs, long nr)
{
	const __u32 zero __attribute__((unused)) = 0;

	if (!is_mine(regs, nr))
		return 0;
	for (__u32 i = 0; i < ${attempts}; i++) {
		${form}
	}
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
`;
}

for (const [name, form] of Object.entries(forms)) {
  void t.test(`${name}: every attempt is received or counted as lost, on both buffers`, async (t) => {
    const file = gadget(name.replaceAll(' ', '-'), flood(form));
    for (const kind of kinds) {
      const { events, received, lost, stderr } = await traced(file, ['--buffer', kind, '--caller', String(process.pid)], () => call(3));
      t.equal(received + lost, 3 * attempts, `${kind}: ${received} received, ${lost} lost; ${stderr}`);
      t.ok(lost > 0, `${kind}: the buffer was too small`);
      t.ok(received > 10, `${kind}: some came`);
      const bad = events.filter((event) => event['twice'] !== 2 * Number(event['number']) || event['last'] !== 3 * Number(event['number']));
      t.same(bad, [], `${kind}: as they were sent`);
    }
  });
}

const nested = `${head}
struct event {
	__u64 first;
	__u64 who;
	char filler[200];
	__u64 last;
};

GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(nested, events, event);

static __always_inline int send(void *ctx, __u64 who, bool interrupt)
{
	struct event *event = gadget_reserve_buf(&events, sizeof(*event));

	if (!event)
		return 0;
	event->first = who;
	event->who = who;
	event->filler[0] = '\\0';
	/* Runs the other program here and now. */
	if (interrupt)
		bpf_printk("rawbpf");
	event->last = who;
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
	return 0;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(on_call, struct pt_regs *regs, long nr)
{
	return is_mine(regs, nr) ? send(ctx, 1, true) : 0;
}

SEC("raw_tp/bpf_trace_printk")
int inside(void *ctx)
{
	return bpf_get_current_pid_tgid() >> 32 == caller ? send(ctx, 2, false) : 0;
}

char LICENSE[] SEC("license") = "GPL";
`;

void t.test('a program that interrupts another between reserve and submit leaves its event alone', async (t) => {
  const file = gadget('nested', nested);
  for (const kind of kinds) {
    const { events, lost } = await traced(file, ['--buffer', kind, '--caller', String(process.pid)], () => call(20));
    t.equal(lost, 0, kind);
    for (const who of [1, 2]) {
      const own = events.filter((event) => event['who'] === who);
      t.equal(own.length, 20, `${kind}: program ${who}`);
      t.ok(
        own.every((event) => event['first'] === who && event['last'] === who),
        `${kind}: events of program ${who} are whole`,
      );
    }
  }
});

const discarding = `${head}
struct event {
	__u64 number;
};

GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(discarding, events, event);

SEC("tp_btf/sys_enter")
int BPF_PROG(on_call, struct pt_regs *regs, long nr)
{
	if (!is_mine(regs, nr))
		return 0;
	/* More often than there are slots: each must come back. */
	for (int i = 0; i < 100; i++) {
		struct event *event = gadget_reserve_buf(&events, sizeof(*event));

		if (!event)
			return 0;
		event->number = i;
		if (i % 2)
			gadget_discard_buf(event);
		else
			gadget_submit_buf(ctx, &events, event, sizeof(*event));
	}
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
`;

void t.test('a discarded event gives its place back', async (t) => {
  const file = gadget('discarding', discarding);
  for (const kind of kinds) {
    const { events, lost } = await traced(file, ['--buffer', kind, '--caller', String(process.pid)], () => call(2));
    t.equal(lost, 0, kind);
    t.equal(events.length, 100, kind);
    t.ok(
      events.every((event) => Number(event['number']) % 2 === 0),
      kind,
    );
  }
});

void t.test('an event that is larger than GADGET_MAX_EVENT_SIZE is counted as lost on perf event arrays', async (t) => {
  const source = discarding.replace('#include <vmlinux.h>', '#include <vmlinux.h>\n#define GADGET_MAX_EVENT_SIZE 4');
  const file = gadget('too-large', source);
  const { received, lost } = await traced(file, ['--buffer', 'perf', '--caller', String(process.pid)], () => call(5));
  t.equal(received, 0);
  t.equal(lost, 5);
});
