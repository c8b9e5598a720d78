import { skipModifiersAndTypedefs } from '../../../btf/resolve.ts';
import { readMapDef } from '../map-def.ts';
import { type MapDraft, newMap } from '../map-spec.ts';
import { type TypeRef, typeMismatch } from './type-match.ts';

const fields = ['type', 'keySize', 'valueSize', 'maxEntries', 'flags', 'numaNode', 'pinning'] as const;

/** Why two declarations of one map do not agree; an extern one has to say the same as the definition. */
export function mapMismatch(a: TypeRef, b: TypeRef): string | null {
  return compare(readMap(a), a, readMap(b), b);
}

function compare(first: MapDraft | null, a: TypeRef, second: MapDraft | null, b: TypeRef): string | null {
  if (first === null || second === null) return 'it is a map in one object only';
  const field = fields.find((name) => first[name] !== second[name]);
  if (field !== undefined) return `its ${field} is ${first[field]} and ${second[field]}`;
  for (const side of ['keyTypeId', 'valueTypeId'] as const) {
    if ((first[side] === 0) !== (second[side] === 0)) return `one of them has no ${side === 'keyTypeId' ? 'key' : 'value'} type`;
    const why = first[side] === 0 ? null : typeMismatch({ btf: a.btf, id: first[side] }, { btf: b.btf, id: second[side] });
    if (why !== null) return why;
  }
  return first.inner === null && second.inner === null ? null : compare(first.inner, a, second.inner, b);
}

function readMap({ btf, id }: TypeRef): MapDraft | null {
  const variable = btf.type(id);
  if (variable.kind !== 'VAR') return null;
  const def = btf.type(skipModifiersAndTypedefs(btf, variable.typeId));
  if (def.kind !== 'STRUCT') return null;
  const place = { sectionName: '.maps', sectionIndex: 0, sectionOffset: 0 };
  const map = newMap(variable.name, 'btf', place);
  readMapDef(map, btf, def, { newInner: () => newMap(`${variable.name}.inner`, 'btf', place), depth: 0, strict: true });
  return map;
}
