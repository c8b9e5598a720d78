// Gadgets that are wrong, through `rawbpf run`: each a clear message, and no loss of the events that are right.
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { BpfCompiler, hasCompiler } from '../support/compile.ts';
import { root } from '../support/examples.ts';

// Slow machines take their time.
t.setTimeout(110_000);

const program = path.join(root, 'build', 'src', 'cli', 'rawbpf.js');
const skip = hasCompiler('clang-19') ? false : 'clang-19 is not installed';
const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-bad-'));
const compiler = new BpfCompiler();
t.teardown(() => {
  compiler.close();
  rmSync(folder, { recursive: true });
});

const head = `
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <gadget/buffer.h>
#include <gadget/macros.h>
#include <gadget/types.h>
`;
const license = 'char LICENSE[] SEC("license") = "GPL";';

/**
 * For each signal 0 that one process is sent: a whole event, one that ends within \`tail\`, one of two fields, one with 24 bytes
 * behind it, and a whole event of another source. \`seq\` numbers all of them.
 */
const misfits = `${head}
struct event {
	__u64 seq;
	__u32 code;
	__u32 pid;
	__u64 last;
};
struct talk {
	__u64 seq;
	__u64 last;
	char text[16];
	char tail[32];
};
struct longer {
	struct event event;
	__u64 more[3];
};
const volatile __u32 wanted = 0;
GADGET_PARAM(wanted);
GADGET_TRACER_MAP(events, 65536);
GADGET_TRACER(sized, events, event);
GADGET_TRACER_MAP(talks, 65536);
GADGET_TRACER(texts, talks, talk);
__u64 seq;

SEC("raw_tp/signal_generate")
int on_signal(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx->args[2];
	struct longer out = {};
	struct talk talk = {};
	__u32 pid;

	bpf_probe_read_kernel(&pid, sizeof(pid), &task->tgid);
	if (!wanted || pid != wanted)
		return 0;
	out.event.pid = pid;
	out.event.code = 7;
	out.event.last = 99;
	out.more[0] = out.more[1] = out.more[2] = ~0ull;
	out.event.seq = ++seq;
	gadget_output_buf(ctx, &events, &out, sizeof(out.event));
	out.event.seq = ++seq;
	gadget_output_buf(ctx, &events, &out, 12);
	out.event.seq = ++seq;
	gadget_output_buf(ctx, &events, &out, sizeof(out));
	out.event.seq = ++seq;
	gadget_output_buf(ctx, &events, &out, sizeof(out.event));
	talk.seq = ++seq;
	talk.last = 5;
	__builtin_memcpy(talk.text, "hello", 5);
	gadget_output_buf(ctx, &talks, &talk, 21);
	return 0;
}
${license}
`;

/** Compiles into a gadget's folder. */
function gadget(name: string, source: string, yaml = ''): string {
  const { object, stderr } = compiler.compile(source);
  if (object === null) throw new Error(stderr);
  const at = path.join(folder, name);
  mkdirSync(at);
  writeFileSync(path.join(at, 'program.bpf.o'), object);
  if (yaml !== '') writeFileSync(path.join(at, 'gadget.yaml'), yaml);
  return path.join(at, 'program.bpf.o');
}

void t.test('events shorter and longer than their struct are told and counted, others unhurt', { skip }, async (t) => {
  const object = gadget('misfits', misfits);
  for (const buffer of ['ringbuf', 'perf'] as const) {
    const target = spawn('sleep', ['60'], { stdio: 'ignore' });
    const child = spawn(
      process.execPath,
      [program, 'run', object, '--buffer', buffer, '--wanted', String(target.pid), '-v', '-o', 'json', '--max-events', '15'],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (part: string) => (stdout += part));
    const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
    await new Promise<void>((resolve) => {
      child.stderr.setEncoding('utf8').on('data', (part: string) => {
        stderr += part;
        if (stderr.includes(': attached')) resolve();
      });
      void ended.then(() => resolve());
    });
    // SIGCONT does nothing to a process that runs, and is told of all the same.
    for (let i = 0; i < 3; i++) target.kill('SIGCONT');
    const late = setTimeout(() => child.kill('SIGINT'), 30_000);
    t.equal(await ended, 0, buffer);
    clearTimeout(late);
    target.kill('SIGKILL');
    const rows = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .toSorted((a, b) => Number(a['seq']) - Number(b['seq']));
    const whole = { code: 7, pid: target.pid, last: 99 };
    const expected = Array.from({ length: 3 }, (_, i) => [
      { seq: i * 5 + 1, ...whole },
      { seq: i * 5 + 2, code: 7, pid: 0, last: 0 },
      { seq: i * 5 + 3, ...whole },
      { seq: i * 5 + 4, ...whole },
      { seq: i * 5 + 5, last: 5, text: 'hello', tail: '' },
    ]).flat();
    t.same(rows, expected, `${buffer}: every event, a short one's absent fields as zeros`);
    const messages = stderr.split('\n').filter((line) => / event/.test(line));
    // The kernel fills an event in a perf buffer up: 12 to 12, 24 to 28, 48 to 52 bytes (with 4 for the size, multiples of 8).
    const longSize = buffer === 'perf' ? 52 : 48;
    t.same(
      messages.map((line) => line.replace(/^\S+: /, '')),
      [
        'an event of sized has 12 bytes, struct event has at least 24: pid and what follows it is shown as zeros, and such events are counted',
        `an event of sized has ${longSize} bytes, struct event has 24: what follows is not shown, and such events are counted`,
        '3 events of sized were shorter than struct event',
        '3 events of sized were longer than struct event',
      ],
      `${buffer}: told once, and in all; not of the text that ends early, nor of padding`,
    );
    t.match(stderr, /15 received, 0 lost, 0 discarded/, `${buffer}: none is lost`);
  }
});

void t.test('a gadget that names what is not there, and values out of range', { skip }, (t) => {
  const tracer = (declarations: string): string => `${head}
struct event {
	__u64 seq;
};
struct event *unused_event __attribute__((unused));
const volatile __u8 level = 1;
GADGET_PARAM(level);
GADGET_TRACER_MAP(events, 4096);
${declarations}
SEC("raw_tp/sys_enter")
int on_call(struct bpf_raw_tracepoint_args *ctx)
{
	struct event event = { .seq = level };

	gadget_output_buf(ctx, &events, &event, sizeof(event));
	return 0;
}
${license}
`;
  const missingMap = gadget('missing-map', tracer('GADGET_TRACER(one, evnts, event);'));
  const twoTracers = gadget('two-tracers', tracer('GADGET_TRACER(one, events, event);\nGADGET_TRACER(two, events, event);'));
  const good = gadget('good', tracer('GADGET_TRACER(one, events, event);'));
  const yaml = gadget(
    'yaml',
    tracer('GADGET_TRACER(one, events, event);'),
    'name: yaml\ndatasources:\n  oen:\n    fields:\n      seq:\n        description: x\n',
  );
  const rows: readonly [string, readonly string[], number, RegExp][] = [
    [missingMap, [], 1, /names a map that is not there: evnts[^]*did you mean events/],
    [twoTracers, [], 1, /two tracers write to one map, so their events cannot be told apart[^]*one and two/],
    [good, ['--level', '256'], 2, /bad value for --level[^]*0 to 255/],
    [good, ['--level', '-1'], 2, /bad value for --level[^]*0 to 255/],
    [yaml, ['--max-events', '1', '-o', 'none'], 0, /oen/],
  ];
  for (const [object, args, status, message] of rows) {
    const result = spawnSync(process.execPath, [program, 'run', object, '--timeout', '20', ...args], { encoding: 'utf8', timeout: 60_000 });
    t.match(result.stderr, message);
    t.equal(result.status, status, result.stderr);
    t.equal(result.stdout, '');
    t.notMatch(result.stderr, /\n\s+at /, 'no stack of our own program');
  }
  t.end();
});
