import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import t from 'tap';
import { releaseProgramPages } from '../../src/sys/program-pages.ts';
import { defaultSys } from '../../src/sys/default-sys.ts';

/** MiB of files that are resident, as the kernel says. */
function residentFiles(): number {
  const told = /^RssFile:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1];
  if (told === undefined) throw new Error('no RssFile in /proc/self/status');
  return Number(told) / 1024;
}

void t.test('pages of the program go, and come back when they are wanted', async (t) => {
  const sys = defaultSys();
  const before = residentFiles();
  const released = releaseProgramPages(sys) / 2 ** 20;
  const after = residentFiles();
  t.ok(released > 10, `${released.toFixed(1)} MiB let go of`);
  t.ok(after < before - released / 2, `${before.toFixed(1)} MiB of files before, ${after.toFixed(1)} after`);
  // What was let go of still runs: the parser, the compiler, regular expressions, a process of its own, the garbage collector.
  t.equal(JSON.parse(JSON.stringify({ a: [1, 'b'] })).a[1], 'b');
  t.match('x'.repeat(1000), /^(x{10})+$/u);
  t.equal(spawnSync(process.execPath, ['-e', 'console.log(6 * 7)'], { encoding: 'utf8' }).stdout, '42\n');
  t.equal(new Intl.NumberFormat('de').format(1234.5), '1.234,5');
  t.ok(Array.from({ length: 200_000 }, (_, i) => ({ i })).length === 200_000);
});
