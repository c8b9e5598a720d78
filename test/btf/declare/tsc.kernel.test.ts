// What declareTypes writes, through the TypeScript compiler; a process of its own, neither root nor a kernel.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { Btf, declareTypes } from '../../../src/btf/index.ts';
import { idOf, valueFixture } from '../value/fixture.ts';

const tsc = fileURLToPath(new URL('../../../../node_modules/typescript/bin/tsc', import.meta.url));

/** What the compiler says of some files. */
function check(files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'rawbpf-declare-'));
  try {
    for (const [name, text] of Object.entries(files)) writeFileSync(path.join(folder, name), text);
    const options = {
      module: 'nodenext',
      target: 'es2023',
      strict: true,
      noEmit: true,
      types: [],
      skipLibCheck: false,
      exactOptionalPropertyTypes: true,
    };
    writeFileSync(path.join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: options }));
    writeFileSync(path.join(folder, 'package.json'), '{"type":"module"}');
    const { stdout, error } = spawnSync(process.execPath, [tsc, '-p', folder, '--pretty', 'false'], { encoding: 'utf8' });
    if (error !== undefined) throw error;
    return stdout;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const use = `import type { bits, color, everything, Events, Maps, Variables } from './object.js';
declare const value: everything;
declare const events: Events;
declare const maps: Maps;
declare const variables: Variables;
// The types that values.bpf.c's members have as JavaScript values.
export const rows: [number, bigint, bigint, boolean, number, string, string[], Uint8Array, number[], boolean[], bigint[], number[][], bigint] = [
  value.u32, value.u64, value.s128, value.yes, value.f64, value.text, value.words, value.bytes, value.signed_bytes, value.flags,
  value.longs, value.matrix, value.function,
];
export const inner: number = value.point.x + value.points[0].y + value.either.low + value.inner_b + value.__proto__ + value.none.length;
export const event: number = events.point.x;
export const key: number = maps.counts.key;
export const held: everything = maps.counts.value;
export const raw: Uint8Array = maps['no types'].value;
export const wide: bigint = variables.bits.e;
export const shade: color = variables.bits.h;
export const b: bits = { a: 1, b: 2, c: 3, d: 4, e: 5n, f: 6n, g: true, h: 7, i: 8, plain: 9, j: 10n };
// @ts-expect-error a 64-bit integer is no number
export const wrong: number = value.u64;
// @ts-expect-error there is no such member
value.missing;
`;

t.test('declarations of an object compile, and say what decoders give', (t) => {
  const { btf } = valueFixture('values.bpf.o');
  const everything = idOf(btf, 'everything');
  const text = declareTypes(btf, [everything, idOf(btf, 'flexible')], {
    events: [{ name: 'point', typeId: idOf(btf, 'point') }],
    maps: [
      { name: 'counts', keyTypeId: idOf(btf, '__u32'), valueTypeId: everything },
      { name: 'no types', keyTypeId: 0, valueTypeId: 0 },
    ],
    variables: [{ name: 'bits', typeId: idOf(btf, 'bits') }],
  });
  t.equal(check({ 'object.d.ts': text, 'use.ts': use }), '');
  t.match(check({ 'object.d.ts': text, 'use.ts': `${use}export const no: string = value.u8;\n` }), /TS2322/, 'a wrong use is found');
  t.end();
});

const vmlinux = '/sys/kernel/btf/vmlinux';

t.test('declarations of kernel structs compile', { skip: existsSync(vmlinux) ? false : 'this kernel has no BTF' }, (t) => {
  const btf = Btf.parse(readFileSync(vmlinux));
  const text = declareTypes(
    btf,
    ['task_struct', 'inode', 'sk_buff', 'bpf_prog', 'net'].map((name) => btf.findByName(name, 'STRUCT') ?? 0),
  );
  t.ok(text.split('\n').length > 2000);
  t.equal(check({ 'object.d.ts': text }), '');
  t.end();
});
