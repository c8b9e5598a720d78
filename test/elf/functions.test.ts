import t from 'tap';
import { FunctionTable } from '../../src/elf/functions.ts';
import { outlineElf } from '../../src/elf/outline.ts';

/** name, value, size, type, binding, section. */
type Row = readonly [name: string, value: number, size: number, type: number, binding: number, section: number];

function tableOf(rows: readonly Row[], littleEndian = true): FunctionTable {
  const symbols = new Uint8Array(rows.length * 24);
  const view = new DataView(symbols.buffer);
  let strings = '\0';
  for (const [i, [name, value, size, type, binding, section]] of rows.entries()) {
    const at = i * 24;
    view.setUint32(at, strings.length, littleEndian);
    strings += `${name}\0`;
    view.setUint8(at + 4, (binding << 4) | type);
    view.setUint16(at + 6, section, littleEndian);
    view.setBigUint64(at + 8, BigInt(value), littleEndian);
    view.setBigUint64(at + 16, BigInt(size), littleEndian);
  }
  return new FunctionTable({ symbols, strings: Buffer.from(strings), littleEndian, codeEnd: (index) => (index === 1 ? 0x2000 : 0) });
}

const rows: readonly Row[] = [
  ['undefined', 0x1000, 8, 2, 1, 0],
  ['local_name', 0x1000, 0x100, 2, 0, 1],
  ['global_name', 0x1000, 0x100, 2, 1, 1],
  ['inside', 0x1020, 0x10, 2, 0, 1],
  ['data', 0x1050, 0x10, 1, 1, 1],
  ['label', 0x1200, 0, 0, 0, 1],
  ['label_in_data', 0x1210, 0, 0, 0, 2],
  ['$x', 0x1220, 0, 0, 0, 1],
  ['.Lcompilers', 0x1228, 0, 0, 0, 1],
  ['sized', 0x1300, 0x10, 2, 1, 1],
  ['ifunc', 0x1400, 0x10, 10, 1, 1],
  ['last', 0x1f00, 0, 2, 1, 1],
  ['_ZN3foo3barEv', 0x1500, 0x10, 2, 2, 1],
];

void t.test('functions by address', (t) => {
  for (const littleEndian of [true, false]) {
    const table = tableOf(rows, littleEndian);
    for (const [address, name] of [
      [0xfff, null],
      [0x1000, 'global_name'],
      [0x1020, 'inside'],
      [0x102f, 'inside'],
      [0x1030, 'global_name'],
      [0x1055, 'global_name'],
      [0x10ff, 'global_name'],
      [0x1100, null],
      [0x1200, 'label'],
      [0x12ff, 'label'],
      [0x130f, 'sized'],
      // A label without a size ends where the next function starts.
      [0x1310, null],
      [0x1408, 'ifunc'],
      [0x1508, '_ZN3foo3barEv'],
      [0x1fff, 'last'],
      [0x2000, null],
    ] as const) {
      t.equal(table.nameOf(address), name, `0x${address.toString(16)}, ${littleEndian ? 'little' : 'big'} endian`);
    }
  }
  t.end();
});

void t.test('hostile symbol tables', (t) => {
  t.equal(tableOf([]).nameOf(0), null);
  t.equal(tableOf([['over', 0x1000, Number.MAX_SAFE_INTEGER, 2, 1, 1]]).nameOf(0x1800), null, 'past all numbers');
  const long = tableOf([['n'.repeat(100_000), 0x1000, 16, 2, 1, 1]]);
  t.equal(long.nameOf(0x1000)?.length, 4096, 'names are cut');
  // A million functions that all start at one place and reach nowhere near: the search gives up.
  const many = tableOf([['wide', 0x0ff0, 0x1000, 2, 1, 1], ...Array.from({ length: 5000 }, (_, i): Row => [`f${i}`, 0x1000, 1, 2, 1, 1])]);
  t.equal(many.nameOf(0x1800), null);
  const unnamed = new FunctionTable({
    symbols: new Uint8Array(24 * 3 + 7).fill(0xff),
    strings: new Uint8Array(0),
    littleEndian: true,
    codeEnd: () => 1,
  });
  t.equal(unnamed.size, 0);
  t.end();
});

const read = (bytes: Uint8Array) => (offset: number, length: number) => bytes.subarray(offset, offset + length);

void t.test('an outline of what is no ELF file', (t) => {
  const head = new Uint8Array(64);
  head.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  t.same(outlineElf(read(head)).sections, []);
  t.throws(() => outlineElf(read(new Uint8Array(10))), { code: 'E_ELF_HEADER' });
  t.throws(() => outlineElf(read(new Uint8Array(64))), { code: 'E_ELF_HEADER' });
  const elf32 = head.slice();
  elf32[4] = 1;
  t.throws(() => outlineElf(read(elf32)), { code: 'E_ELF_CLASS' });
  const sections = head.slice();
  const view = new DataView(sections.buffer);
  view.setBigUint64(40, 0xffff_ffff_ffffn, true);
  view.setUint16(58, 64, true);
  view.setUint16(60, 5, true);
  t.throws(() => outlineElf(read(sections)), { code: 'E_ELF_SECTION' }, 'section headers past the end');
  const segments = head.slice();
  new DataView(segments.buffer).setUint16(54, 56, true);
  new DataView(segments.buffer).setUint16(56, 9, true);
  t.throws(() => outlineElf(read(segments)), { code: 'E_ELF_SEGMENT' }, 'program headers past the end');
  t.end();
});
