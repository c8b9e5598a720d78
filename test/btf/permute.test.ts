import t from 'tap';
import { Btf, BtfBuilder, parseBtfExt, permuteBtf } from '../../src/btf/index.ts';
import { expectedText } from '../fixture.ts';
import { dumpLikeBpftool, parseBpftool } from './bpftool.ts';
import { tour } from './tour.ts';

/** What bpftool shows, with every id replaced, in the order of the new ones. */
function renumbered(types: readonly Record<string, unknown>[], newId: (id: number) => number): unknown[] {
  const map = (value: unknown, key: string): unknown => {
    if (Array.isArray(value)) return value.map((one) => map(one, key));
    if (typeof value === 'object' && value !== null) {
      return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, map(part, name)]));
    }
    return /(^|_)id$/.test(key) && typeof value === 'number' ? newId(value) : value;
  };
  return types.map((type) => map(type, '') as { id: number }).toSorted((a, b) => a.id - b.id);
}

for (const file of ['tour.bpf.o', 'tour.bpfeb.o']) {
  t.test(`types of ${file} the other way round: bpftool's dump, renumbered`, async (t) => {
    const { btf, ext, rawExt } = tour(file);
    const newId = (id: number): number => (id === 0 ? 0 : btf.typeCount - id);
    const permuted = permuteBtf(
      btf,
      Array.from({ length: btf.typeCount }, (_, id) => newId(id)),
      { ext: rawExt },
    );
    const after = Btf.parse(permuted.bytes);
    if (file === 'tour.bpf.o') t.same(dumpLikeBpftool(after), renumbered(parseBpftool(expectedText('tour.btf.json')), newId));
    t.equal(after.littleEndian, btf.littleEndian);
    const relos = (of: typeof ext): unknown[] => of.coreRelos.flatMap(({ relos: list }) => list.map(({ typeId }) => typeId));
    t.same(relos(parseBtfExt(permuted.ext ?? new Uint8Array(0), after)), (relos(ext) as number[]).map(newId), 'CO-RE records follow');
    const back = permuteBtf(
      after,
      Array.from({ length: btf.typeCount }, (_, id) => newId(id)),
    );
    t.same(dumpLikeBpftool(Btf.parse(back.bytes)), dumpLikeBpftool(btf), 'and back');
  });
}

t.test('split BTF: only its own types move', async (t) => {
  const base = new BtfBuilder();
  const int = base.add({ kind: 'FLOAT', name: 'float', size: 4 });
  const baseBtf = Btf.parse(base.encode());
  const split = new BtfBuilder({ base: baseBtf });
  split.add({ kind: 'PTR', name: '', typeId: int, attribute: false });
  split.add({ kind: 'PTR', name: '', typeId: split.nextId - 1, attribute: false });
  const btf = Btf.parse(split.encode(), { base: baseBtf });
  const after = Btf.parse(permuteBtf(btf, [3, 2]).bytes, { base: baseBtf });
  t.match([after.type(2), after.type(3)], [{ typeId: 3 }, { typeId: int }]);
  for (const ids of [[3], [2, 2], [1, 2], [2, 4], [2, 2.5], [0, 3, 2]]) t.throws(() => permuteBtf(btf, ids), { code: 'E_BTF_PERMUTE' });
  t.throws(() => permuteBtf(baseBtf, [1, 0]), { code: 'E_BTF_PERMUTE' }, 'void stays');
});
