import { BTF_INT, BTF_KIND, type BtfKindName } from '../types.ts';
import type { TypeTable } from './table.ts';

/** A value of a described type: an integer, text, or a list of rows. */
export type DescribedValue = number | bigint | string;
/** Names with values, in the order in which they are shown. */
export type DescribedRow = readonly (readonly [name: string, value: DescribedValue])[];

/** One type in the words of `bpftool btf dump`: both the raw and the JSON dump show this. */
export interface DescribedType {
  readonly id: number;
  readonly kind: BtfKindName | 'UNKNOWN';
  readonly name: string;
  readonly attributes: DescribedRow;
  /** Members, values, parameters or variables; null where the kind has none. */
  readonly list: { readonly name: 'members' | 'values' | 'params' | 'vars'; readonly rows: readonly DescribedRow[] } | null;
}

const kindNames: readonly BtfKindName[] = Object.keys(BTF_KIND) as BtfKindName[];
const linkages = ['static', 'global', 'extern'];
const anonymous = '(anon)';

/** The name of a kind as dumps have it. */
export function shownKind(kind: number): BtfKindName | 'UNKNOWN' {
  return kind === 0 ? 'UNKNOWN' : (kindNames[kind] ?? 'UNKNOWN');
}

/** The name of a type as dumps have it. */
export function shownName(table: TypeTable, id: number): string {
  return shownString(table, table.word(table.head(id)));
}

/** Describes a type. */
export function describeType(table: TypeTable, id: number): DescribedType {
  const at = table.head(id);
  const kindNumber = table.kind(id);
  const vlen = table.vlen(id);
  const third = table.word(at + 2);
  const kind = shownKind(kindNumber);
  const described = (attributes: DescribedRow, list: DescribedType['list'] = null): DescribedType => {
    return { id, kind, name: shownName(table, id), attributes, list };
  };
  switch (kind) {
    case 'INT': {
      const bits = table.word(at + 3);
      const encoding = encodingName((bits >>> 24) & 15);
      return described([
        row('size', third),
        row('bits_offset', (bits >>> 16) & 0xff),
        row('nr_bits', bits & 0xff),
        row('encoding', encoding),
      ]);
    }
    case 'PTR':
    case 'CONST':
    case 'VOLATILE':
    case 'RESTRICT':
    case 'TYPEDEF':
    case 'TYPE_TAG':
      return described([row('type_id', third)]);
    case 'ARRAY':
      return described([row('type_id', table.word(at + 3)), row('index_type_id', table.word(at + 4)), row('nr_elems', table.word(at + 5))]);
    case 'STRUCT':
    case 'UNION':
      return described([row('size', third), row('vlen', vlen)], { name: 'members', rows: members(table, at, vlen, table.flag(id)) });
    case 'ENUM':
    case 'ENUM64': {
      const signed = table.flag(id);
      const rows = kind === 'ENUM' ? values(table, at, vlen, signed) : wideValues(table, at, vlen, signed);
      return described([row('encoding', signed ? 'SIGNED' : 'UNSIGNED'), row('size', third), row('vlen', vlen)], { name: 'values', rows });
    }
    case 'FWD':
      return described([row('fwd_kind', table.flag(id) ? 'union' : 'struct')]);
    case 'FUNC':
      return described([row('type_id', third), row('linkage', linkages[vlen] ?? '(unknown)')]);
    case 'FUNC_PROTO':
      return described([row('ret_type_id', third), row('vlen', vlen)], { name: 'params', rows: params(table, at, vlen) });
    case 'VAR':
      return described([row('type_id', third), row('linkage', linkages[table.word(at + 3)] ?? '(unknown)')]);
    case 'DATASEC':
      return described([row('size', third), row('vlen', vlen)], { name: 'vars', rows: variables(table, at, vlen) });
    case 'FLOAT':
      return described([row('size', third)]);
    case 'DECL_TAG':
      return described([row('type_id', third), row('component_idx', table.word(at + 3) | 0)]);
    default:
      return described([]);
  }
}

function members(table: TypeTable, at: number, count: number, bitfields: boolean): DescribedRow[] {
  const rows: DescribedRow[] = [];
  for (let i = 0, p = at + 3; i < count; i++, p += 3) {
    const place = table.word(p + 2);
    const member = [row('name', shownString(table, table.word(p))), row('type_id', table.word(p + 1))];
    member.push(row('bits_offset', bitfields ? place & 0xffffff : place));
    if (bitfields && place >>> 24 > 0) member.push(row('bitfield_size', place >>> 24));
    rows.push(member);
  }
  return rows;
}

function values(table: TypeTable, at: number, count: number, signed: boolean): DescribedRow[] {
  const rows: DescribedRow[] = [];
  for (let i = 0, p = at + 3; i < count; i++, p += 2) {
    const value = table.word(p + 1);
    rows.push([row('name', shownString(table, table.word(p))), row('val', signed ? value | 0 : value)]);
  }
  return rows;
}

function wideValues(table: TypeTable, at: number, count: number, signed: boolean): DescribedRow[] {
  const rows: DescribedRow[] = [];
  for (let i = 0, p = at + 3; i < count; i++, p += 3) {
    const value = (BigInt(table.word(p + 2)) << 32n) | BigInt(table.word(p + 1));
    rows.push([row('name', shownString(table, table.word(p))), row('val', signed ? BigInt.asIntN(64, value) : value)]);
  }
  return rows;
}

function params(table: TypeTable, at: number, count: number): DescribedRow[] {
  const rows: DescribedRow[] = [];
  for (let i = 0, p = at + 3; i < count; i++, p += 2) {
    rows.push([row('name', shownString(table, table.word(p))), row('type_id', table.word(p + 1))]);
  }
  return rows;
}

function variables(table: TypeTable, at: number, count: number): DescribedRow[] {
  const rows: DescribedRow[] = [];
  for (let i = 0, p = at + 3; i < count; i++, p += 3) {
    rows.push([row('type_id', table.word(p)), row('offset', table.word(p + 1)), row('size', table.word(p + 2))]);
  }
  return rows;
}

function row(name: string, value: DescribedValue): readonly [string, DescribedValue] {
  return [name, value];
}

function shownString(table: TypeTable, offset: number): string {
  return offset === 0 ? anonymous : table.btf.string(offset);
}

function encodingName(encoding: number): string {
  switch (encoding) {
    case 0:
      return '(none)';
    case BTF_INT.SIGNED:
      return 'SIGNED';
    case BTF_INT.CHAR:
      return 'CHAR';
    case BTF_INT.BOOL:
      return 'BOOL';
    default:
      return 'UNKN';
  }
}
