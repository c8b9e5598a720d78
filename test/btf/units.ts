import { Btf, BtfBuilder, btfFromElf } from '../../src/btf/index.ts';
import { parseElf } from '../../src/elf/index.ts';
import { fixture } from '../fixture.ts';

/** The types of one unit of fixtures/dedup. */
export function unit(name: 'one' | 'two' | 'three'): Btf {
  const btf = btfFromElf(parseElf(fixture(`dedup/${name}.o`)));
  if (btf === null) throw new Error(`${name}.o has no BTF`);
  return btf;
}

/** All types of some BTFs one after another, with nothing shared but strings. */
export function concatenated(units: readonly Btf[], options: { readonly base?: Btf; readonly littleEndian?: boolean } = {}): Btf {
  const builder = new BtfBuilder(options);
  for (const btf of units) for (let id = btf.firstId; id < btf.typeCount; id++) builder.copy(btf, id);
  return Btf.parse(builder.encode(options), options);
}
