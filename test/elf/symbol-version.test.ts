import t from 'tap';
import { parseElf, SHT, symbolVersions } from '../../src/elf/index.ts';
import { fixture } from '../fixture.ts';

// `readelf -W --dyn-syms fixtures/elf/versions.so`
const expected = [
  'kept@@FIXTURE_1',
  'FIXTURE_1@@FIXTURE_1',
  'both@@FIXTURE_1',
  'use@@FIXTURE_1',
  'answer@FIXTURE_1',
  'answer@@FIXTURE_2',
  'weak_one@@FIXTURE_1',
  'FIXTURE_2@@FIXTURE_2',
];

const bytes = fixture('elf/versions.so');

void t.test('the versions of dynamic symbols', (t) => {
  const elf = parseElf(bytes);
  const version = symbolVersions(elf);
  const names = elf.dynamicSymbols.flatMap(({ index, name }) => {
    const found = version(index);
    return found === null ? [] : [`${name}${found.isDefault ? '@@' : '@'}${found.name}`];
  });
  t.same(names.toSorted(), expected.toSorted());
  t.equal(version(1000), null, 'no such symbol');
  const plain = parseElf(fixture('usdt/target.x64'));
  t.equal(symbolVersions(plain)(1), null, 'a file without versions');
  t.end();
});

void t.test('tables of versions that lead nowhere', (t) => {
  const { sections } = parseElf(bytes);
  const verdef = sections.find(({ type }) => type === SHT.GNU_VERDEF);
  const at = verdef?.offset ?? 0;
  const changed = (offset: number, value: number): Uint8Array => {
    const copy = Uint8Array.from(bytes);
    new DataView(copy.buffer).setUint32(at + offset, value, true);
    return copy;
  };
  const read = (file: Uint8Array) => (): unknown => symbolVersions(parseElf(file));
  // Elf64_Verdef: vd_aux at 12, vd_next at 16.
  t.throws(read(changed(16, 0x7fffffff)), { code: 'E_ELF_VERSION' }, 'vd_next');
  t.throws(read(changed(20 + 8 + 12, 0x7fffffff)), { code: 'E_ELF_VERSION' }, 'vd_aux');
  t.throws(read(changed(20 + 8 + 20, 0x7fffffff)), { code: 'E_ELF_STRING' }, 'vda_name');
  t.doesNotThrow(read(changed(16, 0)), 'a chain that ends early');
  t.end();
});
