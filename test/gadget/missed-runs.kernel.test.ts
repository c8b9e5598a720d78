// The kernel does not run a program within itself, and says how often it did not: a run tells so, by name.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { runGadget } from '../../src/enrich/run-gadget.ts';
import { defaultSys } from '../../src/sys/default-sys.ts';
import { kernelVersion, versionCode } from '../../src/sys/kernel-version.ts';
import { compileBpf } from '../support/compile.ts';
import { rawbpfPath } from '../support/run-gadget.ts';
import { slowness } from '../support/patience.ts';

t.setTimeout(110_000 * slowness);

const sys = defaultSys();
// asm/unistd_64.h, asm-generic/unistd.h
const umask = sys.arch === 'x64' ? 95 : 166;

// bpf_trace_printk() fires a tracepoint: a program there that prints itself interrupts itself.
const source = `
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#define GADGET_NO_BUF_RESERVE
#include <gadget/buffer.h>
#include <gadget/macros.h>

struct event { __u32 depth; };
const volatile __u32 own_pid = 0;
GADGET_PARAM(own_pid);
GADGET_TRACER_MAP(events, 4096);
GADGET_TRACER(printed, events, event);
__u32 depth;

static __always_inline bool is_own(void)
{
	return bpf_get_current_pid_tgid() >> 32 == own_pid;
}

SEC("raw_tp/sys_enter")
int entered(struct bpf_raw_tracepoint_args *ctx)
{
	if (is_own() && ctx->args[1] == ${umask})
		bpf_printk("rawbpf test");
	return 0;
}

SEC("raw_tp/bpf_trace_printk")
int within_itself(void *ctx)
{
	struct event event = { .depth = depth };

	if (!is_own())
		return 0;
	gadget_output_buf(ctx, &events, &event, sizeof(event));
	// Older kernels do run it within itself.
	if (depth > 0)
		return 0;
	depth = 1;
	bpf_printk("rawbpf test, again");
	depth = 0;
	return 0;
}
char LICENSE[] SEC("license") = "GPL";
`;

const { object, stderr } = compileBpf(source);
if (object === null) throw new Error(stderr);

// Before 6.1 bpf_trace_printk() holds a spin lock while it fires the tracepoint: within itself it would stop the machine.
const skip = kernelVersion() < versionCode(6, 1) ? 'this kernel would hang in bpf_trace_printk()' : false;

void t.test('in the library', { skip }, async (t) => {
  const events = runGadget({ object, params: { own_pid: process.pid } });
  t.same(events.run.missed, [], 'none so far');
  for (let i = 0; i < 5; i++) sys.call('umask', 0o22);
  const live = events.run.missed;
  events.stop();
  const depths: unknown[] = [];
  for await (const { depth } of events) depths.push(depth);
  const nested = depths.filter((depth) => depth === 1).length;
  t.equal(depths.length - nested, 5, 'the first time it ran');
  // What ran and what did not are all there is; kernels before 6.2 run it.
  const result = await events.run.done;
  t.same(result.missed, nested === 5 ? [] : [{ program: 'within_itself', times: 5 }]);
  t.same(live, result.missed, 'while it ran, too');
  t.same(events.run.missed, result.missed, 'and after it');
  t.same(result.counters, { received: depths.length, delivered: depths.length, lost: 0, discarded: 0 }, 'not among the lost events');
});

void t.test('on the command line', { skip }, async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-missed-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const file = path.join(folder, 'nested.bpf.o');
  writeFileSync(file, object);
  const child = spawn(
    process.execPath,
    [rawbpfPath, 'run', file, '-v', '-o', 'json', '--no-containers', '--own_pid', String(process.pid)],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let said = '';
  let printed = '';
  child.stdout.on('data', (data: Buffer) => (printed += data.toString()));
  child.stderr.on('data', (data: Buffer) => (said += data.toString()));
  const ended = once(child, 'close');
  while (!/: attached$/m.test(said) && child.exitCode === null) await Promise.race([once(child.stderr, 'data'), ended]);
  sys.call('umask', 0o22);
  child.kill('SIGINT');
  await ended;
  const nested = /"depth":1/.test(printed);
  t.match(said, nested ? /2 received, 0 lost/ : /once the kernel skipped program within_itself, .*\n.*1 received, 0 lost/, said);
});
