// The form in which `bpftool btf dump -j file` (7.1) shows types.
import type { Btf, BtfType } from '../../src/btf/index.ts';

const unnamed = '(anon)';
const intEncodings: Readonly<Record<number, string>> = { 0: '(none)', 1: 'SIGNED', 2: 'CHAR', 4: 'BOOL' };
const linkages: Readonly<Record<number, string>> = { 0: 'static', 1: 'global', 2: 'extern' };

type BpftoolType = Record<string, unknown> & { readonly kind: string; readonly values?: { val: number | string }[] };

/** Parses the tool's JSON; integers that a number cannot hold become strings. */
export function parseBpftool(text: string): readonly Record<string, unknown>[] {
  const exact = text.replace(/"val":(-?\d{16,})/g, '"val":"$1"');
  const { types } = JSON.parse(exact) as { types: BpftoolType[] };
  for (const type of types) {
    if (type.kind !== 'ENUM') continue;
    // This version widens the 32 bits of unsigned enums with their sign.
    for (const value of type.values ?? []) if (typeof value.val === 'string') value.val = Number(BigInt.asUintN(32, BigInt(value.val)));
  }
  return types;
}

/** Every own type of a BTF in that form. */
export function dumpLikeBpftool(btf: Btf): Record<string, unknown>[] {
  return Array.from({ length: btf.typeCount - btf.firstId }, (_, i) => likeBpftool(btf.type(btf.firstId + i)));
}

function likeBpftool(type: BtfType): Record<string, unknown> {
  const head = { id: type.id, kind: type.kind, name: type.name === '' ? unnamed : type.name };
  switch (type.kind) {
    case 'INT':
      return { ...head, size: type.size, bits_offset: type.bitOffset, nr_bits: type.bits, encoding: intEncodings[type.encoding] ?? 'UNKN' };
    case 'PTR':
    case 'TYPEDEF':
    case 'VOLATILE':
    case 'CONST':
    case 'RESTRICT':
    case 'TYPE_TAG':
      return { ...head, type_id: type.typeId };
    case 'ARRAY':
      return { ...head, type_id: type.typeId, index_type_id: type.indexTypeId, nr_elems: type.count };
    case 'STRUCT':
    case 'UNION':
      return {
        ...head,
        size: type.size,
        vlen: type.members.length,
        members: type.members.map((member) => ({
          name: member.name === '' ? unnamed : member.name,
          type_id: member.typeId,
          bits_offset: member.bitOffset,
          ...(member.bitSize === 0 ? {} : { bitfield_size: member.bitSize }),
        })),
      };
    case 'ENUM':
    case 'ENUM64':
      return {
        ...head,
        encoding: type.signed ? 'SIGNED' : 'UNSIGNED',
        size: type.size,
        vlen: type.values.length,
        values: type.values.map(({ name, value }) => ({
          name: name === '' ? unnamed : name,
          val: /^-?\d{16,}$/.test(String(value)) ? String(value) : Number(value),
        })),
      };
    case 'FWD':
      return { ...head, fwd_kind: type.target === 'UNION' ? 'union' : 'struct' };
    case 'FUNC':
      return { ...head, type_id: type.typeId, linkage: linkages[type.linkage] ?? '(unknown)' };
    case 'FUNC_PROTO':
      return {
        ...head,
        ret_type_id: type.returnTypeId,
        vlen: type.params.length,
        params: type.params.map((param) => ({ name: param.name === '' ? unnamed : param.name, type_id: param.typeId })),
      };
    case 'VAR':
      return { ...head, type_id: type.typeId, linkage: linkages[type.linkage] ?? '(unknown)' };
    case 'DATASEC':
      return {
        ...head,
        size: type.size,
        vlen: type.variables.length,
        vars: type.variables.map((variable) => ({ type_id: variable.typeId, offset: variable.offset, size: variable.size })),
      };
    case 'FLOAT':
      return { ...head, size: type.size };
    case 'DECL_TAG':
      return { ...head, type_id: type.typeId, component_idx: type.componentIndex };
    default:
      return head;
  }
}
