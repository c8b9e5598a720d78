import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { WallClock } from '../../src/enrich/time.ts';
import { parseIds, UserNames } from '../../src/enrich/users.ts';
import type { ClockOffsets } from '../../src/sys/clock.ts';
import type { Sys } from '../../src/sys/sys.ts';

const noSys = null as unknown as Sys;

void t.test('boot time becomes wall-clock time, measured anew once a second', (t) => {
  let now = 0;
  let offset = 1_700_000_000_123_456_789n;
  let measured = 0;
  const measure = (): ClockOffsets => {
    measured++;
    return { boottimeToEpoch: offset, monotonicToEpoch: 0n, exact: true };
  };
  const clock = new WallClock(noSys, measure, () => now);
  const into = { seconds: 0, nanoseconds: 0 };
  const epoch = (ns: bigint): bigint => {
    clock.toEpoch(Number(ns >> 32n), Number(ns & 0xffffffffn), into);
    t.ok(into.nanoseconds >= 0 && into.nanoseconds < 1e9);
    return BigInt(into.seconds) * 1_000_000_000n + BigInt(into.nanoseconds);
  };
  for (const ns of [1n, 999_999_999n, 876_543_211n, 123_456_789_012_345n, 2n ** 62n]) t.equal(epoch(ns), ns + offset);
  t.equal(measured, 1);
  offset += 5_000_000_000n;
  now = 999;
  t.equal(epoch(1n), 1n + offset - 5_000_000_000n, 'still the old measurement');
  now = 1001;
  t.equal(epoch(1n), 1n + offset, 'the wall clock was set');
  // A machine whose clock was never set: 1970, or before it.
  offset = -7_500_000_000n;
  now = 5000;
  t.equal(epoch(1_000_000_000n), -6_500_000_000n);
  t.equal(measured, 3);
  t.ok(Math.abs(Number(epoch(0n) / 1_000_000n) - Date.now()) < 1000, 'no time means now');
  t.end();
});

void t.test('users and groups out of files', (t) => {
  // The formats of passwd(5) and group(5).
  t.same(
    [...parseIds('root:x:0:0:root:/root:/bin/sh\n# x:x:1\n\nbroken\nnone::\nalso:x:0:0::/:/\nwww:x:33:33\nbad:x:12a:\n:x:5:\n')],
    [
      [0, 'root'],
      [33, 'www'],
    ],
  );
  const root = mkdtempSync(join(tmpdir(), 'users-'));
  t.teardown(() => rmSync(root, { recursive: true }));
  let now = 0;
  const names = new UserNames({ root, now: () => now });
  t.equal(names.user(0), 'uid:0', 'no files');
  t.equal(names.group(5), 'gid:5');
  mkdirSync(join(root, 'etc'));
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0::/:/\nann:x:1000:1000::/:/\n');
  writeFileSync(join(root, 'etc/group'), 'staff:x:50:\n');
  t.equal(names.user(0), 'uid:0', 'not looked at again yet');
  now = 2000;
  t.equal(names.user(0), 'root');
  t.equal(names.group(50), 'staff');
  t.equal(names.user(4294967295), 'uid:4294967295');
  // As useradd does it: a new file in place of the old one.
  writeFileSync(join(root, 'etc/passwd+'), 'root:x:0:0::/:/\nbob:x:1000:1000::/:/\n');
  renameSync(join(root, 'etc/passwd+'), join(root, 'etc/passwd'));
  now = 4000;
  t.equal(names.user(1000), 'bob');
  rmSync(join(root, 'etc/passwd'));
  now = 6000;
  t.equal(names.user(1000), 'uid:1000');
  t.end();
});
