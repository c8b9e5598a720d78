import t from 'tap';
import { Netns, until } from '../../support/netns.ts';
import { slowness } from '../../support/patience.ts';
import { RunningGadget } from '../../support/run-gadget.ts';

t.setTimeout(110_000 * slowness);

// A veth goes when the namespace of its other end goes, and that goes with the last that holds it.
void t.test('a network namespace ends with its last process, while packets of it are looked at', async (t) => {
  const home = await Netns.make();
  t.teardown(() => home.close());
  const has = (name: string): boolean => home.table('dev').some((row) => row[0] === `${name}:`);
  const gadget = await RunningGadget.start('trace_dns', ['--no-containers']);
  try {
    for (let i = 0; i < 5; i++) {
      const other = await Netns.make();
      home.join(other, `v${i}`, [], []);
      await until('the gadget looks', () => other.isWatchedBy(gadget.pid));
      t.ok(has(`v${i}`));
      await other.close();
      const start = performance.now();
      await until('the namespace is gone', () => !has(`v${i}`));
      const ms = performance.now() - start;
      t.ok(ms < 2000 * slowness, `gone after ${ms.toFixed(0)} ms`);
    }
    t.ok(home.isWatchedBy(gadget.pid), 'the other one is looked at still');
  } finally {
    await gadget.stop();
  }
});
