import t from 'tap';
import { Kernel } from '../../src/bpf/kernel/kernel.ts';
import { NamespaceWatch } from '../../src/enrich/network/watch.ts';
import { SocketEnricher } from '../../src/enrich/sockets/enricher.ts';
import { defaultSys } from '../../src/sys/default-sys.ts';
import { FaultInjector } from '../../src/sys/fault-injector.ts';
import { Sys } from '../../src/sys/sys.ts';

t.setTimeout(110_000);

const sys = defaultSys();
const tick = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** A kernel on which iterators cannot be run while `short.now`: there is no descriptor left. */
function shortKernel(short: { now: boolean; calls: number }): Kernel {
  const faults = new FaultInjector(sys.backend, sys.arch, [
    { errno: 'EMFILE', when: ({ command }) => command === 'BPF_ITER_CREATE' && (short.calls++, short.now) },
  ]);
  return new Kernel({ sys: new Sys(faults, sys.arch) });
}

async function untilCalled(short: { calls: number }, more: number): Promise<void> {
  const wanted = short.calls + more;
  for (const end = performance.now() + 20_000; performance.now() < end && short.calls < wanted;) await tick(10);
}

t.test('a sweep for sockets that fails for want of descriptors is told once, and the next one is made', async (t) => {
  const short = { now: false, calls: 0 };
  const told: string[] = [];
  const enricher = new SocketEnricher(shortKernel(short), { sweepMs: 20, notice: (message) => told.push(message) });
  t.teardown(() => enricher.close());
  short.now = true;
  await untilCalled(short, 3);
  short.now = false;
  await untilCalled(short, 3);
  t.equal(told.filter((message) => message.includes('EMFILE')).length, 1);
});

t.test('a look for network namespaces that fails is made again', async (t) => {
  const short = { now: false, calls: 0 };
  const watch = new NamespaceWatch(shortKernel(short), { entered() {}, left() {} });
  t.teardown(() => watch.close());
  short.now = true;
  await untilCalled(short, 1);
  short.now = false;
  await untilCalled(short, 1);
  t.ok(watch.threads.size > 0);
});
