import t from 'tap';
import { parseElf } from '../../src/elf/file.ts';
import { stapsdtNotesOf } from '../../src/elf/stapsdt.ts';
import { fixture } from '../fixture.ts';
import { makeElf } from './make.ts';

t.test('the probes of a program, as readelf -n (binutils 2.40) tells them', async (t) => {
  const rows: readonly (readonly [name: string, location: bigint, semaphore: bigint, args: string])[] = [
    ['kinds', 0x2012e6n, 0x0n, '-1@%edi 2@%esi -4@%edx 8@%rcx -4@$-9 4@$42 -4@-4(%rsp)'],
    ['indexed', 0x2019e5n, 0x0n, '-4@4(%rax,%rdi,4)'],
    ['variable', 0x201b05n, 0x0n, '-4@counter(%rip)'],
    ['bare', 0x201c2fn, 0x0n, ''],
    ['twice', 0x201dc8n, 0x203070n, '-8@%rax'],
    ['twice', 0x201ef8n, 0x203070n, '-8@%rax'],
  ];
  const expected = rows.map(([name, location, semaphore, args]) => ({ provider: 'rawbpf', name, location, semaphore, args }));
  t.same(stapsdtNotesOf(parseElf(fixture('usdt/target.x64'))), expected);
});

t.test('of another architecture, as eu-readelf would', async (t) => {
  const notes = stapsdtNotesOf(parseElf(fixture('usdt/target.arm64')));
  // From the bytes that llvm-readelf-19 -n prints.
  t.same(notes[1], { provider: 'rawbpf', name: 'indexed', location: 0x210a20n, semaphore: 0n, args: '-4@[x10, x0, lsl 2]' });
  t.equal(notes.length, 5);
});

t.test('a file that was moved after it was linked', async (t) => {
  const note = { location: 0x1000n, base: 0x3000n, semaphore: 0x2000n, texts: 'p\0n\x008@%rax\0' };
  const at = (base: bigint | null) => stapsdtNotesOf(parseElf(withNotes([note], base)));
  t.match(at(0x3000n), [{ location: 0x1000n, semaphore: 0x2000n }]);
  t.match(at(0x3500n), [{ location: 0x1500n, semaphore: 0x2500n }]);
  t.match(at(0x2f00n), [{ location: 0xf00n, semaphore: 0x1f00n }], 'down');
  t.match(at(null), [{ location: 0x1000n, semaphore: 0x2000n }], 'without the section that tells');
});

t.test('notes that are none', async (t) => {
  t.same(stapsdtNotesOf(parseElf(fixture('runtime.bpf.o'))), []);
  for (const texts of ['p\0n\x008@%rax', 'p', '']) {
    t.throws(() => stapsdtNotesOf(parseElf(withNotes([{ location: 0n, base: 0n, semaphore: 0n, texts }], null))), { code: 'E_ELF_NOTE' });
  }
});

interface MadeNote {
  readonly location: bigint;
  readonly base: bigint;
  readonly semaphore: bigint;
  readonly texts: string;
}

/** A file with such notes, and with .stapsdt.base at an address unless that is null. */
function withNotes(notes: readonly MadeNote[], base: bigint | null): Uint8Array {
  const parts = notes.map(({ location, base: linked, semaphore, texts }) => {
    const desc = Buffer.concat([new Uint8Array(new BigUint64Array([location, linked, semaphore]).buffer), Buffer.from(texts, 'latin1')]);
    const head = new Uint8Array(new Uint32Array([8, desc.length, 3]).buffer);
    return Buffer.concat([head, Buffer.from('stapsdt\0'), desc, Buffer.alloc((4 - (desc.length % 4)) % 4)]);
  });
  const bytes = makeElf({
    sections: [
      { name: '.note.stapsdt', type: 7, data: Buffer.concat(parts), align: 4n },
      ...(base === null ? [] : [{ name: '.stapsdt.base', type: 1, data: new Uint8Array(1) }]),
    ],
  });
  const view = new DataView(bytes.buffer);
  // sh_addr of the second section.
  if (base !== null) view.setBigUint64(Number(view.getBigUint64(40, true)) + 2 * 64 + 16, base, true);
  return bytes;
}
