import type { Btf } from '../btf/btf.ts';
import { membersOf, ReaderBuilder, type PlacedMember } from '../btf/value/reader.ts';
import { resolveType, sizeOfType, typeNamesOf, type MemberPlace, type ResolvedType } from '../btf/value/resolve.ts';
import { BTF_INT } from '../btf/types.ts';
import type { Field } from './field.ts';
import type { ScalarKind, Slot } from './slot.ts';
import { SourceBuilder } from './source-builder.ts';
import { applySpecials } from './special/registry.ts';
import { structsOfProcesses, templateOfType } from './templates.ts';

/** Structs within structs and arrays within arrays deeper than this are left out. */
const maxDepth = 24;
/** Most elements of one array that are shown. */
const maxElements = 65536;

/** Adds the fields of a struct: nested structs with dotted names, members that begin with `__` left out. */
export function flattenStruct(into: SourceBuilder, typeId: number, base = 0, depth = 0, parent: Field | null = null): void {
  const struct = resolveType(into.btf, typeId);
  // A typedef'd anonymous struct has its typedef's name.
  const structName = typeNamesOf(into.btf, typeId).at(-1) ?? '';
  for (const member of membersOf(into.btf, struct)) addMember(into, member, structName, base, depth, parent);
}

function addMember(into: SourceBuilder, member: PlacedMember, structName: string, base: number, depth: number, parent: Field | null): void {
  const { name, type } = member;
  if (name.startsWith('__') || !into.reserve()) return;
  const whole = parent === null ? name : `${parent.name}.${name}`;
  if (depth > maxDepth) return into.notice(`field ${whole} is left out: structs are nested too deep`);
  const place: MemberPlace = { ...member.place, offset: base + member.place.offset };
  const size = place.bitSize > 0 ? Math.ceil((place.bitOffset + place.bitSize) / 8) : sizeOfType(into.btf, member.typeId);
  const isStruct = type.kind === 'STRUCT' || type.kind === 'UNION';
  const slot = isStruct ? null : slotOf(into, type, place, depth);
  if (slot === null && !isStruct) return into.notice(`field ${whole} is left out: ${type.kind} has no value to show`);
  if (isStruct && size === 0) return;
  const typeNames = allTypeNames(into.btf, member.typeId);
  const tags = [...typeNames.map((typeName) => `type:${typeName}`), `name:${name}`, 'src:ebpf'];
  const field = into.add({ leaf: name, parent, slot, tags, typeId: member.typeId, offset: place.offset, size });
  if (field === null) return;
  for (const typeName of typeNames) {
    const template = templateOfType(typeName);
    if (template !== null) field.suggestTemplate(template);
    if (structsOfProcesses.has(typeName)) field.suggest('columns.hidden', 'true');
  }
  if (structsOfProcesses.has(structName)) field.suggest('columns.alias', name);
  if (type.kind === 'PTR') field.suggest('columns.hex', 'true');
  if (isStruct) flattenStruct(into, member.typeId, place.offset, depth + 1, field);
}

/** Type names from the declaration inwards; of an array, those of its elements too. */
function allTypeNames(btf: Btf, typeId: number): readonly string[] {
  const names = [...typeNamesOf(btf, typeId)];
  let type = resolveType(btf, typeId);
  for (let depth = 0; type.kind === 'ARRAY' && depth < maxDepth; depth++) {
    names.push(...typeNamesOf(btf, type.typeId));
    type = resolveType(btf, type.typeId);
  }
  return names;
}

/** How to read a member that is not a struct; null for what has no value. */
function slotOf(into: SourceBuilder, type: ResolvedType, place: MemberPlace, depth: number): Slot | null {
  const { btf } = into;
  const { offset } = place;
  if (place.bitSize > 0) {
    const kind = integerKind(type);
    return kind === null ? null : { shape: 'bits', kind, reader: new ReaderBuilder(btf).memberReader(type, place) };
  }
  switch (type.kind) {
    case 'INT':
    case 'ENUM':
    case 'ENUM64': {
      const kind = integerKind(type);
      return kind === null ? { shape: 'blob', offset, length: type.size } : { shape: 'scalar', kind, offset };
    }
    case 'PTR':
      return { shape: 'scalar', kind: btf.pointerSize === 8 ? 'uint64' : 'uint32', offset };
    case 'FLOAT':
      if (type.size === 4 || type.size === 8) return { shape: 'scalar', kind: type.size === 4 ? 'float32' : 'float64', offset };
      if (type.size === 2) return { shape: 'bits', kind: 'float32', reader: new ReaderBuilder(btf).memberReader(type, place) };
      return { shape: 'blob', offset, length: type.size };
    case 'ARRAY': {
      if (depth > maxDepth) return null;
      const element = resolveType(btf, type.typeId);
      const stride = sizeOfType(btf, type.typeId);
      if (type.count === 0 || stride === 0) return null;
      if (isText(element)) return { shape: 'chars', offset, length: type.count };
      if (type.count > maxElements) return { shape: 'blob', offset, length: type.count * stride };
      if (element.kind === 'STRUCT' || element.kind === 'UNION') {
        const inner = new SourceBuilder(into, stride, null);
        flattenStruct(inner, type.typeId, 0, depth + 1);
        applySpecials(inner);
        return { shape: 'array', offset, count: type.count, stride, element: { shape: 'struct', offset: 0, fields: inner.fields } };
      }
      const slot = slotOf(into, element, { offset: 0, bitOffset: 0, bitSize: 0 }, depth + 1);
      return slot === null ? null : { shape: 'array', offset, count: type.count, stride, element: slot };
    }
    default:
      return null;
  }
}

function isText(type: ResolvedType): boolean {
  return type.kind === 'INT' && type.size === 1 && (type.name === 'char' || (type.encoding & BTF_INT.CHAR) !== 0);
}

function integerKind(type: ResolvedType): ScalarKind | null {
  if (type.kind !== 'INT' && type.kind !== 'ENUM' && type.kind !== 'ENUM64') return null;
  if (type.kind === 'INT' && (type.encoding & BTF_INT.BOOL) !== 0 && type.size === 1) return 'bool';
  const signed = type.kind === 'INT' ? (type.encoding & BTF_INT.SIGNED) !== 0 : type.signed;
  switch (type.size) {
    case 1:
      return signed ? 'int8' : 'uint8';
    case 2:
      return signed ? 'int16' : 'uint16';
    case 4:
      return signed ? 'int32' : 'uint32';
    case 8:
      return signed ? 'int64' : 'uint64';
    case 16:
      return signed ? 'int128' : 'uint128';
    default:
      return null;
  }
}
