import t from 'tap';
import { programPages } from '../../src/sys/program-pages.ts';

/** A mapping as /proc/PID/smaps shows it (proc(5)), shortened. */
function mapping(heading: string, kib: Readonly<Record<string, number>> = {}): string {
  const fields = { Rss: 400, Private_Dirty: 0, Anonymous: 0, Swap: 0, Locked: 0, ...kib };
  const lines = Object.entries(fields).map(([name, value]) => `${name}:${String(value).padStart(20)} kB`);
  return [heading, ...lines, 'VmFlags: rd ex mr mw me sd', ''].join('\n');
}

const rows: readonly (readonly [what: string, text: string, found: boolean])[] = [
  ['text of a program', mapping('00b72000-025fe000 r-xp 00771000 fe:00 1234     /usr/bin/node'), true],
  ['its constants', mapping('00400000-00b6f000 r--p 00000000 fe:00 1234     /usr/bin/node'), true],
  ['a file of which only the name is gone', mapping('00400000-00b6f000 r-xp 00000000 fe:00 1234     /usr/bin/node (deleted)'), true],
  [
    'relocated data that was written before it was made read-only',
    mapping('0563b000-0563e000 r--p 0523a000 fe:00 1234 /usr/bin/node', { Anonymous: 12 }),
    false,
  ],
  ['dirty pages', mapping('0563b000-0563e000 r--p 0523a000 fe:00 1234 /usr/bin/node', { Private_Dirty: 4 }), false],
  ['written pages that are swapped out', mapping('0563b000-0563e000 r--p 0523a000 fe:00 1234 /usr/bin/node', { Swap: 4 }), false],
  ['locked pages', mapping('00b72000-025fe000 r-xp 00771000 fe:00 1234 /usr/bin/node', { Locked: 400 }), false],
  ['nothing resident', mapping('00b72000-025fe000 r-xp 00771000 fe:00 1234 /usr/bin/node', { Rss: 0 }), false],
  ['data', mapping('05640000-05660000 rw-p 0523f000 fe:00 1234 /usr/bin/node'), false],
  ['a shared mapping', mapping('7f0000000000-7f0000001000 r--s 00000000 00:15 77 /sys/kernel/btf/vmlinux'), false],
  ['memory without a file', mapping('7f0000000000-7f0000001000 r-xp 00000000 00:00 0'), false],
  ['the vdso', mapping('7ffd0000-7ffd2000 r-xp 00000000 00:00 0 [vdso]'), false],
  ['shared memory that is no file', mapping('7f0000000000-7f0000001000 r--p 00000000 00:01 0 /dev/zero (deleted)'), false],
  ['fields that are not told', '00b72000-025fe000 r-xp 00771000 fe:00 1234 /usr/bin/node\nRss: 4 kB\nVmFlags: rd\n', false],
  ['nonsense', 'no mapping at all\n', false],
];

void t.test('only mappings that are the same in their file are let go of', async (t) => {
  for (const [what, text, found] of rows) t.equal(programPages(text).length, found ? 1 : 0, what);
  t.same(
    programPages(rows.map(([, text]) => text).join('')),
    rows.filter(([, , found]) => found).flatMap(([, text]) => programPages(text)),
    'one after the other',
  );
  t.same(programPages(rows[0]?.[1] ?? ''), [{ start: 0xb72000n, length: 0x1a8c000, resident: 400 * 1024, file: '/usr/bin/node' }]);
});
