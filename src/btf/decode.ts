import type { Btf } from './btf.ts';
import {
  BTF_KIND,
  type BtfEnumerator,
  type BtfKindName,
  type BtfMember,
  type BtfParam,
  type BtfReference,
  type BtfSecInfo,
  type BtfType,
} from './types.ts';

const kindNames: readonly string[] = Object.keys(BTF_KIND);

/** The name of a kind number; null where this version does not know it. */
export function kindName(kind: number): BtfKindName | null {
  return (kindNames[kind] as BtfKindName | undefined) ?? null;
}

const voidType: BtfType = Object.freeze({ id: 0, kind: 'UNKN', name: '' });

/** Makes the object of an own type; the index has checked that all its bytes are there. */
export function decodeType(btf: Btf, id: number): BtfType {
  if (id === 0) return voidType;
  const { view, littleEndian } = btf;
  const at = btf.offsetOf(id);
  const u32 = (offset: number): number => view.getUint32(offset, littleEndian);
  const name = btf.nameAt(u32(at));
  const info = u32(at + 4);
  const kindNumber = (info >>> 24) & 0x7f;
  const vlen = info & 0xffffff;
  const flag = info >>> 31 === 1;
  // The union of size and type.
  const size = u32(at + 8);
  const rest = at + 12;
  const kind = kindName(kindNumber);
  switch (kind) {
    case 'INT': {
      const bits = u32(rest);
      return Object.freeze({ id, kind, name, size, encoding: (bits >>> 24) & 15, bitOffset: (bits >>> 16) & 0xff, bits: bits & 0xff });
    }
    case 'PTR':
    case 'TYPEDEF':
    case 'VOLATILE':
    case 'CONST':
    case 'RESTRICT':
    case 'TYPE_TAG': {
      const type: BtfReference = { id, kind, name, typeId: size, attribute: kind === 'TYPE_TAG' && flag };
      return Object.freeze(type);
    }
    case 'ARRAY':
      return Object.freeze({ id, kind, name, typeId: u32(rest), indexTypeId: u32(rest + 4), count: u32(rest + 8) });
    case 'STRUCT':
    case 'UNION':
      return Object.freeze({ id, kind, name, size, members: Object.freeze(decodeMembers(btf, rest, vlen, flag)) });
    case 'ENUM':
      return Object.freeze({ id, kind, name, size, signed: flag, values: Object.freeze(decodeEnum(btf, rest, vlen, flag)) });
    case 'ENUM64':
      return Object.freeze({ id, kind, name, size, signed: flag, values: Object.freeze(decodeEnum64(btf, rest, vlen, flag)) });
    case 'FWD':
      return Object.freeze({ id, kind, name, target: flag ? 'UNION' : 'STRUCT' });
    case 'FUNC':
      // The linkage of a FUNC is in its vlen.
      return Object.freeze({ id, kind, name, typeId: size, linkage: vlen });
    case 'FUNC_PROTO':
      return Object.freeze({ id, kind, name, returnTypeId: size, params: Object.freeze(decodeParams(btf, rest, vlen)) });
    case 'VAR':
      return Object.freeze({ id, kind, name, typeId: size, linkage: u32(rest) });
    case 'DATASEC':
      return Object.freeze({ id, kind, name, size, variables: Object.freeze(decodeVariables(btf, rest, vlen)) });
    case 'FLOAT':
      return Object.freeze({ id, kind, name, size });
    case 'DECL_TAG':
      return Object.freeze({ id, kind, name, typeId: size, componentIndex: view.getInt32(rest, littleEndian), attribute: flag });
    default:
      return Object.freeze({ id, kind: 'UNKNOWN', name, kindNumber });
  }
}

function decodeMembers(btf: Btf, at: number, count: number, bitfields: boolean): BtfMember[] {
  const { view, littleEndian } = btf;
  const members: BtfMember[] = [];
  for (let i = 0; i < count; i++, at += 12) {
    const place = view.getUint32(at + 8, littleEndian);
    members.push({
      name: btf.nameAt(view.getUint32(at, littleEndian)),
      typeId: view.getUint32(at + 4, littleEndian),
      bitOffset: bitfields ? place & 0xffffff : place,
      bitSize: bitfields ? place >>> 24 : 0,
    });
  }
  return members;
}

function decodeEnum(btf: Btf, at: number, count: number, signed: boolean): BtfEnumerator[] {
  const { view, littleEndian } = btf;
  const values: BtfEnumerator[] = [];
  for (let i = 0; i < count; i++, at += 8) {
    const value = signed ? view.getInt32(at + 4, littleEndian) : view.getUint32(at + 4, littleEndian);
    values.push({ name: btf.nameAt(view.getUint32(at, littleEndian)), value: BigInt(value) });
  }
  return values;
}

function decodeEnum64(btf: Btf, at: number, count: number, signed: boolean): BtfEnumerator[] {
  const { view, littleEndian } = btf;
  const values: BtfEnumerator[] = [];
  for (let i = 0; i < count; i++, at += 12) {
    // Low word first in either byte order.
    const low = BigInt(view.getUint32(at + 4, littleEndian));
    const high = BigInt(signed ? view.getInt32(at + 8, littleEndian) : view.getUint32(at + 8, littleEndian));
    values.push({ name: btf.nameAt(view.getUint32(at, littleEndian)), value: (high << 32n) | low });
  }
  return values;
}

function decodeParams(btf: Btf, at: number, count: number): BtfParam[] {
  const { view, littleEndian } = btf;
  const params: BtfParam[] = [];
  for (let i = 0; i < count; i++, at += 8) {
    params.push({ name: btf.nameAt(view.getUint32(at, littleEndian)), typeId: view.getUint32(at + 4, littleEndian) });
  }
  return params;
}

function decodeVariables(btf: Btf, at: number, count: number): BtfSecInfo[] {
  const { view, littleEndian } = btf;
  const variables: BtfSecInfo[] = [];
  for (let i = 0; i < count; i++, at += 12) {
    variables.push({
      typeId: view.getUint32(at, littleEndian),
      offset: view.getUint32(at + 4, littleEndian),
      size: view.getUint32(at + 8, littleEndian),
    });
  }
  return variables;
}
