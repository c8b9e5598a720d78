// This kernel's own BTF, type by type against bpftool; needs /sys/kernel/btf/vmlinux, not root.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import t from 'tap';
import { alignOf, Btf, BTF_KIND, BtfBuilder, knownSizeOf } from '../../src/btf/index.ts';
import { slowness } from '../support/patience.ts';
import { dumpLikeBpftool, parseBpftool } from './bpftool.ts';

const path = '/sys/kernel/btf/vmlinux';
const bytes = readFileSync(path);

t.test('indexing is quick and small', (t) => {
  const before = process.memoryUsage();
  const start = process.cpuUsage();
  const btf = Btf.parse(bytes);
  const took = process.cpuUsage(start).user / 1000;
  const after = process.memoryUsage();
  const grown = after.heapUsed - before.heapUsed + after.arrayBuffers - before.arrayBuffers;
  t.ok(btf.typeCount > 10_000, `${btf.typeCount} types`);
  // 5 ms and 3 MB on an idle machine; the limit allows for a slower one.
  t.ok(took < 100 * slowness, `indexed in ${took.toFixed(1)} ms`);
  t.ok(grown < 10e6, `${(grown / 1e6).toFixed(1)} MB`);
  t.end();
});

t.test('every type is what bpftool says', (t) => {
  const text = execFileSync('bpftool', ['btf', 'dump', '-j', 'file', path], { encoding: 'utf8', maxBuffer: 1 << 30 });
  const expected = parseBpftool(text);
  const ours = dumpLikeBpftool(Btf.parse(bytes));
  t.equal(ours.length, expected.length);
  let different = 0;
  expected.forEach((type, i) => {
    if (JSON.stringify(type) === JSON.stringify(ours[i])) return;
    different++;
    if (different < 4) t.same(ours[i], type);
  });
  t.equal(different, 0, `${expected.length} types agree`);
  t.end();
});

t.test('every named type is found again by its name', (t) => {
  const btf = Btf.parse(bytes);
  const first = new Map<string, number>();
  for (let id = 1; id < btf.typeCount; id++) {
    const key = `${btf.kindOf(id)} ${btf.nameOf(id)}`;
    if (btf.nameOf(id) !== '' && !first.has(key)) first.set(key, id);
  }
  const kinds = Object.keys(BTF_KIND) as (keyof typeof BTF_KIND)[];
  let wrong = 0;
  for (const [key, id] of first) {
    const kind = kinds[btf.kindOf(id)];
    if (kind === undefined || btf.findByName(key.slice(key.indexOf(' ') + 1), kind) !== id) wrong++;
  }
  t.equal(wrong, 0, `${first.size} names`);
  t.end();
});

t.test('every struct has a size and an alignment that divides it', (t) => {
  const btf = Btf.parse(bytes);
  let wrong = 0;
  let count = 0;
  for (let id = 1; id < btf.typeCount; id++) {
    const kind = btf.kindOf(id);
    if (kind !== BTF_KIND.STRUCT && kind !== BTF_KIND.UNION) continue;
    count++;
    const size = knownSizeOf(btf, id);
    if (size === null || size % alignOf(btf, id) !== 0) wrong++;
  }
  t.equal(wrong, 0, `${count} structs and unions`);
  t.end();
});

t.test('all of it rebuilt is all of it', (t) => {
  const btf = Btf.parse(bytes);
  const builder = new BtfBuilder();
  for (let id = 1; id < btf.typeCount; id++) {
    const type = btf.type(id);
    if (type.kind !== 'UNKN' && type.kind !== 'UNKNOWN') builder.add(type);
  }
  const again = Btf.parse(builder.encode());
  t.equal(again.typeCount, btf.typeCount);
  let different = 0;
  for (let id = 1; id < btf.typeCount; id++) if (show(btf.type(id)) !== show(again.type(id))) different++;
  t.equal(different, 0);
  t.end();
});

function show(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) => (typeof part === 'bigint' ? String(part) : part));
}
