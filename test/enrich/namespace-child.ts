// Started in other namespaces by namespaces.kernel.test.ts: causes events and tells what it sees, as a line of JSON.
import { readFileSync } from 'node:fs';
import { hostContext, pidsAreHosts, runGadget } from '../../src/enrich/index.ts';
import { clockGettime } from '../../src/sys/clock.ts';
import { defaultSys } from '../../src/sys/default-sys.ts';

const sys = defaultSys();
const notices: string[] = [];
const context = hostContext(sys, { notice: (message) => notices.push(message) });
const into = { seconds: 0, nanoseconds: 0 };
context.clock.toEpoch(0, 1, into);
const result: Record<string, unknown> = {
  pidsAreHosts: pidsAreHosts(),
  notices,
  boottime: Number(clockGettime(sys, 'CLOCK_BOOTTIME') / 1_000_000n),
};
if (process.argv[2] === 'events') {
  const events = runGadget({
    object: readFileSync(new URL('../../../fixtures/gadget/calls.bpf.o', import.meta.url)),
    params: { pid: process.pid, syscall_nr: sys.arch === 'x64' ? 95 : 166 },
    maxEvents: 10,
    timeoutMs: Number(process.argv[3] ?? 10_000),
    onNotice: (message) => notices.push(message),
  });
  const calledAt: number[] = [];
  for (let i = 0; i < 10; i++) {
    calledAt.push(Number(clockGettime(sys, 'CLOCK_REALTIME')) / 1e6);
    sys.call('umask', 0o22);
  }
  const seenAt: number[] = [];
  for await (const event of events) {
    if (event['number'] !== undefined) seenAt.push(Number(event['timestamp_raw']) / 1e6);
  }
  // Ten events of two tracers: as many calls as the first of them has.
  result['events'] = seenAt.length;
  result['offMs'] = Math.max(...seenAt.map((ms) => Math.min(...calledAt.map((called) => Math.abs(ms - called)))));
}
process.stdout.write(`${JSON.stringify(result)}\n`);
