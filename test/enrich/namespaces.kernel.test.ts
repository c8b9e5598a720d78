import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { slowness } from '../support/patience.ts';
import { pidsAreHosts } from '../../src/enrich/pidns.ts';

const child = fileURLToPath(new URL('namespace-child.js', import.meta.url));

/** Runs the child behind util-linux's unshare. */
function inNamespaces(flags: readonly string[], ...args: readonly string[]): Record<string, unknown> {
  const [command = '', ...rest] =
    flags.length === 0 ? [process.execPath, child, ...args] : ['unshare', ...flags, process.execPath, child, ...args];
  const { stdout, stderr, status } = spawnSync(command, rest, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${flags.join(' ')}: ${stderr}`);
  return JSON.parse(stdout) as Record<string, unknown>;
}

void t.test('timestamps are right to a millisecond, in a time namespace too', (t) => {
  const here = inNamespaces([], 'events');
  const there = inNamespaces(['--time', '--boottime', '1000000', '--monotonic', '5000', '--fork'], 'events');
  t.ok((here['offMs'] as number) < slowness, `here they are ${String(here['offMs'])} ms off`);
  t.ok((there['offMs'] as number) < slowness, `there they are ${String(there['offMs'])} ms off`);
  t.ok((there['boottime'] as number) - (here['boottime'] as number) > 999_000_000, 'the clock there is another one');
  // One of its two tracers gives short events, on purpose; whether any is among the ten is the reader's turn.
  t.same(
    (there['notices'] as readonly string[]).filter((notice) => !notice.startsWith('an event of echo has 16 bytes')),
    [],
  );
  t.end();
});

void t.test('in another pid namespace ids in events are not those of /proc', (t) => {
  const there = inNamespaces(['--pid', '--fork', '--mount-proc'], 'events', '1');
  t.equal(there['pidsAreHosts'], false);
  t.match(there['notices'], [/not in the host's pid namespace/]);
  t.equal(inNamespaces([])['pidsAreHosts'], pidsAreHosts());
  t.end();
});
