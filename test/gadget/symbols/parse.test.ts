import t from 'tap';
import { PerfMap } from '../../../src/gadget/symbols/perf-map.ts';
import { mappingAt, parseMaps } from '../../../src/gadget/symbols/process-maps.ts';

void t.test('/proc/PID/maps', (t) => {
  const mappings = parseMaps(
    `55d0c0000000-55d0c0001000 r--p 00000000 fe:00 42                         /usr/bin/a b
55d0c0001000-55d0c0003000 r-xp 00001000 fe:00 42                         /usr/bin/a b
7f0000000000-7f0000001000 rwxp 00000000 00:00 0
7f0000002000-7f0000003000 r-xp 00000000 00:01 77                         /memfd:x (deleted)
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0                          [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
nonsense
`,
  );
  t.same(
    mappings.map(({ path, file }) => [path, file]),
    [
      ['/usr/bin/a b', 'fe:00:42'],
      ['', '00:00:0'],
      ['/memfd:x (deleted)', '00:01:77'],
      ['[vdso]', '00:00:0'],
    ],
    'what can be executed; addresses beyond 2^53 are nobody’s',
  );
  t.match(mappings[0], { start: 0x55d0c0001000, end: 0x55d0c0003000, offset: 0x1000, inode: 42, range: '55d0c0001000-55d0c0003000' });
  t.equal(mappingAt(mappings, 0x55d0c0002fff)?.path, '/usr/bin/a b');
  t.equal(mappingAt(mappings, 0x55d0c0003000), null);
  t.equal(mappingAt(mappings, 0), null);
  t.end();
});

void t.test('perf-PID.map', (t) => {
  const map = PerfMap.parse('1000 10 LazyCompile:~first /a.js:1\n0x2000 0x20 second\n1000 8 again\nxyz\n3000 0 empty\n');
  t.equal(map.nameOf(0x1007), 'again', 'memory is used again');
  t.equal(map.nameOf(0x1008), null);
  t.equal(map.nameOf(0x201f), 'second');
  t.equal(map.nameOf(0x2020), null);
  t.equal(map.nameOf(0x3000), null);
  t.equal(map.nameOf(0xfff), null);
  t.end();
});
