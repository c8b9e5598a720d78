import t from 'tap';
import { Btf, BtfBuilder, btfExtFromElf, lineAt, linesOf, parseBtfExt } from '../../src/btf/index.ts';
import { toHex, toUtf8 } from '../../src/elf/index.ts';
import { expectedText } from '../fixture.ts';
import { tour } from './tour.ts';

/** What `llvm-objdump-19 -d -r -l` shows: the line of each instruction (printed where it changes), and CO-RE relocations. */
function objdump(): { lines: Map<string, [offset: number, file: string, line: number][]>; core: unknown[] } {
  const lines = new Map<string, [number, string, number][]>();
  const core: unknown[] = [];
  let section = '';
  let file = '';
  let line = 0;
  for (const row of expectedText('tour.objdump.txt').split('\n')) {
    const heading = /^Disassembly of section (.*):$/.exec(row);
    const source = /^; (.*):(\d+)$/.exec(row);
    const insn = /^ +(\d+):\t/.exec(row);
    const relo = /^\t\t([0-9a-f]{16}): {2}CO-RE <(\w+)> \[(\d+)\] (?:struct \w+)(?:::\w+ \((.*)\))?$/.exec(row);
    if (heading !== null) lines.set((section = heading[1] ?? ''), []);
    if (source !== null) [file, line] = [source[1] ?? '', Number(source[2])];
    if (insn !== null) lines.get(section)?.push([Number(insn[1]) * 8, file, line]);
    if (relo !== null) core.push([section, Number.parseInt(relo[1] ?? '', 16), relo[2], Number(relo[3]), relo[4] ?? '0']);
  }
  return { lines, core };
}

/** enum bpf_core_relo_kind, as llvm-objdump spells those that the fixture has. */
const coreKinds: Readonly<Record<number, string>> = { 0: 'byte_off', 1: 'byte_sz', 2: 'field_exists', 8: 'type_exists' };

for (const file of ['tour.bpf.o', 'tour.bpfeb.o']) {
  t.test(`${file}: lines and CO-RE relocations are what llvm-objdump shows`, (t) => {
    const { btf, ext } = tour(file);
    const expected = objdump();
    t.equal(ext.littleEndian, file === 'tour.bpf.o');
    t.equal(expected.lines.size, 3);
    for (const [section, rows] of expected.lines) {
      t.ok(rows.length > 2, section);
      const ours = rows.map(([offset]) => {
        const found = lineAt(ext, btf, section, offset);
        return [offset, found?.file, found?.line];
      });
      t.same(ours, rows, section);
      const starts = new Set(rows.map(([offset]) => offset));
      t.ok(
        linesOf(ext, btf, section).every((record) => starts.has(record.insnOffset)),
        'records are of instructions',
      );
    }
    const core = ext.coreRelos.flatMap(({ sectionName, relos }) =>
      relos.map((relo) => [sectionName, relo.insnOffset, coreKinds[relo.kind], relo.typeId, relo.access]),
    );
    t.same(core, expected.core);
    t.end();
  });
}

t.test('a line has its text and column, and holds until the next', (t) => {
  const { btf, ext } = tour();
  const twist = lineAt(ext, btf, '.text', 13 * 8);
  t.equal(twist?.text, '\tlocal_state += x;');
  t.equal(twist?.column, 14);
  t.same(lineAt(ext, btf, '.text', 14 * 8), twist);
  t.equal(lineAt(ext, btf, 'no such section', 0), null);
  t.same(linesOf(ext, btf, 'no such section'), []);
  t.end();
});

t.test('func_info names the functions of each section', (t) => {
  const { btf, ext } = tour();
  const names = ext.funcInfo.map((section) => {
    const view = new DataView(section.bytes.buffer, section.bytes.byteOffset, section.bytes.byteLength);
    return [
      section.sectionName,
      Array.from({ length: section.count }, (_, i) => [
        view.getUint32(i * section.recordSize, true),
        btf.nameOf(view.getUint32(i * section.recordSize + 4, true)),
      ]),
    ];
  });
  t.same(names, [
    [
      '.text',
      [
        [0, 'global_subprog'],
        [0x58, 'twist'],
        [0xa0, 'hidden_subprog'],
      ],
    ],
    ['tracepoint/syscalls/sys_enter_getpid', [[0, 'on_getpid']]],
    ['?raw_tracepoint/sys_enter', [[0, 'on_sys_enter']]],
  ]);
  t.end();
});

/** A .BTF.ext of one section called `s`, put together word by word. */
function makeExt(part: 'func' | 'line' | 'core', words: readonly number[], headerWords = 8): { bytes: Uint8Array; btf: Btf } {
  const builder = new BtfBuilder();
  builder.add({ kind: 'STRUCT', name: 's', size: 0, members: [] });
  const length = words.length * 4;
  const places = { func: [0, length, 0, 0, 0, 0], line: [0, 0, 0, length, 0, 0], core: [0, 0, 0, 0, 0, length] }[part];
  const bytes = new Uint8Array(headerWords * 4 + length);
  const view = new DataView(bytes.buffer);
  [0x0001eb9f, headerWords * 4, ...places].slice(0, headerWords).forEach((word, i) => view.setUint32(i * 4, word, true));
  words.forEach((word, i) => view.setUint32(headerWords * 4 + i * 4, word, true));
  return { bytes, btf: Btf.parse(builder.encode()) };
}

t.test('records longer than known keep their length; the core part is optional', (t) => {
  const { bytes, btf } = makeExt('func', [12, 1, 2, 0, 5, 0xaa, 8, 6, 0xbb]);
  const ext = parseBtfExt(bytes, btf);
  t.match(ext.funcInfo, [{ sectionName: 's', recordSize: 12, count: 2 }]);
  t.equal(toHex(ext.funcInfo[0]?.bytes ?? new Uint8Array(0)), '0000000005000000aa0000000800000006000000bb000000');
  const core = makeExt('core', [20, 1, 1, 64, 1, 1, 11, 0xffff]);
  t.same(parseBtfExt(core.bytes, core.btf).coreRelos, [
    { sectionName: 's', relos: [{ insnOffset: 64, typeId: 1, access: 's', accessOffset: 1, kind: 11 }] },
  ]);
  const short = makeExt('line', [16, 1, 1, 0, 1, 1, (7 << 10) | 3], 6);
  const line = lineAt(parseBtfExt(short.bytes, short.btf), short.btf, 's', 8);
  t.same(line, { file: 's', line: 7, column: 3, text: 's' });
  t.same(parseBtfExt(short.bytes, short.btf).coreRelos, []);
  t.end();
});

const broken: readonly (readonly [what: string, code: string, made: { bytes: Uint8Array; btf: Btf }])[] = [
  ['records too short', 'E_BTF_EXT', makeExt('func', [4, 1, 1, 0])],
  ['records of no whole words', 'E_BTF_EXT', makeExt('line', [17, 1, 1, 0, 0, 0, 0, 0])],
  ['more records than bytes', 'E_BTF_EXT', makeExt('core', [16, 1, 0x10000000, 0, 0, 0, 0])],
  ['a section without records', 'E_BTF_EXT', makeExt('func', [8, 1, 0])],
  ['a section head cut short', 'E_BTF_EXT', makeExt('func', [8, 1])],
  ['a section name past the strings', 'E_BTF_STRING', makeExt('func', [8, 99, 1, 0, 0])],
  ['an access string past the strings', 'E_BTF_STRING', makeExt('core', [16, 1, 1, 0, 1, 99, 0])],
  ['a header too short', 'E_BTF_EXT', makeExt('func', [], 4)],
];
for (const [what, code, { bytes, btf }] of broken) {
  t.test(`refused: ${what}`, (t) => {
    t.throws(() => parseBtfExt(bytes, btf), { code });
    t.end();
  });
}

t.test('refused: not .BTF.ext, another version, parts past the end', (t) => {
  const { btf } = tour();
  t.throws(() => parseBtfExt(toUtf8('abcdefgh'), btf), { code: 'E_BTF_MAGIC' });
  const { bytes } = makeExt('func', [8, 1, 1, 0, 0]);
  const damaged = (offset: number, value: number): Uint8Array => {
    const copy = Uint8Array.from(bytes);
    new DataView(copy.buffer).setUint32(offset, value, true);
    return copy;
  };
  t.throws(() => parseBtfExt(damaged(0, 0x0002eb9f), btf), { code: 'E_BTF_VERSION' });
  for (const offset of [4, 8, 12]) t.throws(() => parseBtfExt(damaged(offset, 0xfffffff0), btf), { code: 'E_BTF_EXT' });
  t.throws(() => parseBtfExt(damaged(8, 2), btf), { code: 'E_BTF_EXT' });
  t.end();
});

t.test('.BTF and .BTF.ext of different byte orders do not go together', (t) => {
  const { elf } = tour();
  t.throws(() => btfExtFromElf(elf, tour('tour.bpfeb.o').btf), { code: 'E_BTF_EXT' });
  t.end();
});
