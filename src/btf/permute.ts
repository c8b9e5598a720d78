import { UsageError } from '../error.ts';
import type { Btf } from './btf.ts';
import { encodeSections } from './encode.ts';
import { remapBtfExt } from './ext-remap.ts';
import { TypeTable } from './table.ts';

/** What {@link permuteBtf} gives. */
export interface PermutedBtf {
  readonly bytes: Uint8Array;
  /** .BTF.ext with its type ids adapted; null where none was given. */
  readonly ext: Uint8Array | null;
}

/**
 * Puts the types of a BTF in another order: `ids` says the new id of each, void (0, which stays 0) and the base's left out for split
 * BTF, so `ids[i]` is that of type `firstId + i`, or of type i where there is no base. Every reference follows; strings stay. The same
 * result as libbpf's btf__permute(). Throws UsageError `E_BTF_PERMUTE` where `ids` is no permutation.
 *
 * @example
 * import { Btf, BtfBuilder, permuteBtf } from 'rawbpf/btf';
 * const builder = new BtfBuilder();
 * builder.add({ kind: 'FLOAT', name: 'float', size: 4 });
 * builder.add({ kind: 'FLOAT', name: 'double', size: 8 });
 * console.log(Btf.parse(permuteBtf(Btf.parse(builder.encode()), [0, 2, 1]).bytes).nameOf(1)); // double
 */
export function permuteBtf(btf: Btf, ids: ArrayLike<number>, options: { readonly ext?: Uint8Array } = {}): PermutedBtf {
  const start = btf.base === null ? 0 : btf.firstId;
  const order = checkedOrder(btf, ids, start);
  const newId = (id: number): number => (id < start ? id : (ids[id - start] as number));
  const table = new TypeTable(btf);
  for (let id = btf.firstId; id < btf.typeCount; id++) table.mapTypes(id, (target) => (target < btf.typeCount ? newId(target) : target));
  const { header, bytes, littleEndian } = btf;
  const cut = (at: number, length: number): Uint8Array => bytes.subarray(at, at + length);
  return {
    bytes: encodeSections({
      littleEndian,
      flags: header.flags,
      types: table.encode(order, littleEndian),
      strings: cut(header.stringsAt, header.stringsLength),
      layout: cut(header.layoutAt, header.layoutLength),
    }),
    ext: options.ext === undefined ? null : remapBtfExt(options.ext, (offset) => offset, newId),
  };
}

/** The old ids by new id. */
function checkedOrder(btf: Btf, ids: ArrayLike<number>, start: number): Uint32Array {
  const wanted = btf.typeCount - start;
  if (ids.length !== wanted) throw permuteError(`${ids.length} ids were given, ${wanted} are wanted`);
  if (start === 0 && ids[0] !== 0) throw permuteError('void has to stay type 0');
  const order = new Uint32Array(btf.typeCount - btf.firstId);
  for (let id = btf.firstId; id < btf.typeCount; id++) {
    const to = ids[id - start] as number;
    if (!Number.isInteger(to) || to < btf.firstId || to >= btf.typeCount)
      throw permuteError(`type ${id} would be ${to}; types are ${btf.firstId} to ${btf.typeCount - 1}`);
    if (order[to - btf.firstId] !== 0) throw permuteError(`types ${order[to - btf.firstId]} and ${id} would both be ${to}`);
    order[to - btf.firstId] = id;
  }
  return order;
}

function permuteError(why: string): UsageError {
  return new UsageError({ code: 'E_BTF_PERMUTE', what: 'types cannot be put in this order', why });
}
