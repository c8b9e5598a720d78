import { UnsupportedError, UsageError } from '../error.ts';
import { Btf } from './btf.ts';
import { BtfBuilder, type BtfEncodeOptions } from './builder.ts';
import { encodeSections } from './encode.ts';
import { visitTypeWords } from './refs.ts';
import { StringPool } from './string-pool.ts';
import { TypeTable } from './table.ts';
import { BTF_KIND } from './types.ts';

const { INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC_PROTO, FLOAT, TYPE_TAG, ENUM64 } = BTF_KIND;

/** What {@link distillBase} gives: a module's .BTF.base and the .BTF that is split over it. */
export interface DistilledBtf {
  readonly base: Uint8Array;
  readonly split: Uint8Array;
}

/**
 * Makes split BTF independent of the exact base it was made with: the distilled base holds the named ints, floats, enums,
 * structs and unions that the split BTF refers to, without their members; everything else it needs of the base moves into
 * the split BTF. {@link relocateBtf} goes the other way. The same as libbpf's btf__distill_base().
 *
 * Throws {@link UsageError} `E_BTF_BASE` where the BTF is not split.
 */
export function distillBase(btf: Btf): DistilledBtf {
  if (btf.base === null) throw new UsageError({ code: 'E_BTF_BASE', what: 'only split BTF has a base to distil', where: btf.where() });
  const table = new TypeTable(btf);
  const needed = neededOfBase(table);
  const options: BtfEncodeOptions = { littleEndian: btf.littleEndian };
  const inBase = needed.filter((id) => belongsInBase(table, id));
  const builder = new BtfBuilder();
  const ids = new Map<number, number>([[0, 0]]);
  for (const id of inBase) ids.set(id, builder.add(memberless(btf, id)));
  const base = Btf.parse(builder.encode(options));

  const own = Array.from({ length: table.count - table.firstId }, (_, i) => table.firstId + i);
  // The split BTF's own types first, then those that were the base's.
  const kept = [...own, ...needed.filter((id) => !belongsInBase(table, id))];
  kept.forEach((id, i) => ids.set(id, base.typeCount + i));
  const strings = new StringPool(base);
  for (const id of kept) table.mapStrings(id, (offset) => strings.addBytes(btf.stringBytes(offset)));
  for (const id of kept) table.mapTypes(id, (target) => ids.get(target) as number);
  const types = table.encode(kept, btf.littleEndian);
  const split = encodeSections({ littleEndian: btf.littleEndian, flags: 0, types, strings: strings.encode(), layout: new Uint8Array(0) });
  return { base: base.bytes, split };
}

/** The base's types that the split ones lead to, ascending; named structs and unions are not looked into. */
function neededOfBase(table: TypeTable): number[] {
  const needed = new Set<number>();
  const visit = (id: number): void =>
    visitTypeWords(table.kind(id), table.vlen(id), (index) => {
      const target = table.word(id, index);
      if (target !== 0 && target < table.firstId) needed.add(target);
    });
  for (let id = table.firstId; id < table.count; id++) visit(id);
  // A Set walks over what is added to it on the way.
  for (const id of needed) {
    const kind = table.kind(id);
    if (!movable.has(kind)) {
      throw new UnsupportedError({ code: 'E_BTF_KIND', what: 'a type of this kind cannot be distilled', where: { id, kind } });
    }
    if ((kind !== STRUCT && kind !== UNION) || table.name(id) === 0) visit(id);
  }
  return [...needed].toSorted((a, b) => a - b);
}

const movable: ReadonlySet<number> = new Set([
  INT,
  PTR,
  ARRAY,
  STRUCT,
  UNION,
  ENUM,
  FWD,
  TYPEDEF,
  VOLATILE,
  CONST,
  RESTRICT,
  FUNC_PROTO,
  FLOAT,
  TYPE_TAG,
  ENUM64,
]);

function belongsInBase(table: TypeTable, id: number): boolean {
  switch (table.kind(id)) {
    case INT:
    case FLOAT:
    case FWD:
      return true;
    case STRUCT:
    case UNION:
    case ENUM:
    case ENUM64:
      return table.name(id) !== 0;
    default:
      return false;
  }
}

/** The type as the distilled base has it: name and size, no members; an enum of any size is an ENUM. */
function memberless(btf: Btf, id: number): Parameters<BtfBuilder['add']>[0] {
  const type = btf.type(id);
  switch (type.kind) {
    case 'INT':
    case 'FLOAT':
    case 'FWD':
      return type;
    case 'STRUCT':
    case 'UNION':
      return { kind: type.kind, name: type.name, size: type.size, members: [] };
    case 'ENUM':
    case 'ENUM64':
      return { kind: 'ENUM', name: type.name, size: type.size, signed: false, values: [] };
    default:
      throw new UnsupportedError({ code: 'E_BTF_KIND', what: 'a type of this kind cannot be distilled', where: { id, kind: type.kind } });
  }
}
