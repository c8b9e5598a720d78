import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { skippedRuns } from '../support/patience.ts';
import { traced } from '../support/run-gadget.ts';

// Slow machines take their time.
t.setTimeout(110_000);

const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-alternatives-'));
t.teardown(() => rmSync(folder, { recursive: true }));

const source = `
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#define GADGET_NO_BUF_RESERVE
#include <gadget/buffer.h>
#include <gadget/core_fixes.bpf.h>
#include <gadget/macros.h>

struct event {
	__u64 who;
};

const volatile __u32 caller = 0;
const volatile bool wanted = false;
GADGET_PARAM(caller);
GADGET_PARAM(wanted);
GADGET_TRACER_MAP(events, 1024 * 64);
GADGET_TRACER(alternatives, events, event);

static __always_inline int send(void *ctx, struct pt_regs *regs, __u64 who)
{
	struct event event = { who };

	/* kill(pid, 0) by the test itself. */
	if (bpf_get_current_pid_tgid() >> 32 != caller || gadget_get_syscall_nr(regs) != (gadget_arch_is_x86() ? 62 : 129) ||
	    gadget_get_syscall_arg(regs, 2) != 0)
		return 0;
	gadget_output_buf(ctx, &events, &event, sizeof(event));
	return 0;
}

/* No such tracepoint when it is loaded. */
SEC("?tp_btf/rawbpf_is_not_there")
int BPF_PROG(first, struct pt_regs *regs)
{
	return send(ctx, regs, 1);
}

/* No such tracepoint when it is attached. */
SEC("?raw_tp/rawbpf_is_not_there")
int second(struct bpf_raw_tracepoint_args *ctx)
{
	return send(ctx, (struct pt_regs *)ctx->args[0], 2);
}

/* Refused by the verifier. */
SEC("?raw_tp/sys_enter")
int third(struct bpf_raw_tracepoint_args *ctx)
{
	bpf_core_unreachable();
	return send(ctx, (struct pt_regs *)ctx->args[0], 3);
}

SEC("?raw_tp/sys_enter")
int fourth(struct bpf_raw_tracepoint_args *ctx)
{
	return send(ctx, (struct pt_regs *)ctx->args[0], 4);
}

/* Not needed any more. */
SEC("?raw_tp/sys_enter")
int fifth(struct bpf_raw_tracepoint_args *ctx)
{
	return send(ctx, (struct pt_regs *)ctx->args[0], 5);
}

char LICENSE[] SEC("license") = "GPL";
`;

/** A folder with the gadget, its programs being in these groups. */
function gadget(name: string, groups: Readonly<Record<string, string>>): string {
  const dir = path.join(folder, name);
  mkdirSync(dir);
  writeFileSync(path.join(dir, 'program.bpf.c'), source);
  return written(
    dir,
    name,
    Object.entries(groups).map(([program, group]) => `  ${program}:\n    alternativeOf: ${group}\n`),
  );
}

function written(dir: string, name: string, programs: readonly string[]): string {
  writeFileSync(path.join(dir, 'gadget.yaml'), `name: ${name}\nprograms:\n${programs.join('')}`);
  return dir;
}

const args = ['--caller', String(process.pid)];
const call = () => {
  for (let i = 0; i < 10; i++) process.kill(process.pid, 0);
};

void t.test('of a group the first program that loads and attaches is used', async (t) => {
  const dir = gadget('one-group', { first: 'way', second: 'way', third: 'way', fourth: 'way', fifth: 'way' });
  let seen = await traced(dir, args, call);
  for (let again = 0; again < 5 && skippedRuns(seen.stderr) > 0; again++) seen = await traced(dir, args, call);
  t.same(
    seen.events.map((event) => event['who']),
    Array.from({ length: 10 }, () => 4),
    seen.stderr,
  );
});

void t.test('a group that may have none is told and left out', async (t) => {
  const dir = gadget('optional', { first: 'extra?', second: 'extra?', fourth: 'way' });
  const { events, stderr } = await traced(dir, args, call);
  t.equal(events.length, 10, stderr);
  t.match(stderr, /extra: nothing is shown on this kernel \(.+; .+\)/);
});

void t.test('a group without a program that works is an error that says why of each', async (t) => {
  const dir = gadget('none', { first: 'way', second: 'way', fifth: 'other' });
  await t.rejects(traced(dir, args, call), /none of the alternatives way of the gadget none can be used here.*rawbpf_is_not_there/s);
  const { events, stderr } = await traced(dir, [...args, '--skip-unsupported'], call);
  t.equal(events.length, 10, stderr);
  t.match(stderr, /way: nothing is shown on this kernel/);
});

void t.test('a program that is loaded only where a parameter is true', async (t) => {
  const dir = path.join(folder, 'enabled');
  mkdirSync(dir);
  writeFileSync(path.join(dir, 'program.bpf.c'), source);
  // The third is refused by the verifier wherever it is loaded.
  written(dir, 'enabled', ['  third:\n    enabledBy: wanted\n', '  fourth:\n    enabledBy: wanted, caller\n']);
  const { events, stderr } = await traced(dir, args, call);
  t.same(
    events.map((event) => event['who']),
    Array.from({ length: 10 }, () => 4),
    stderr,
  );
  await t.rejects(traced(dir, [...args, '--wanted'], call), /third/, 'then it is loaded');
  await t.rejects(traced(dir, [], call), /no program of the gadget could be attached/, 'none is wanted');
  written(dir, 'enabled', ['  fourth:\n    enabledBy: nothing_like_it\n']);
  await t.rejects(traced(dir, args, call), /enabledBy names a variable that is not there: nothing_like_it/);
});
