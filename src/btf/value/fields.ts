import { FormatError, UsageError } from '../../error.ts';
import type { Btf } from '../btf.ts';
import { membersOf, ReaderBuilder, type ReadOptions, type ValueReader } from './reader.ts';
import { resolveType, sizeOfType, typeNamesOf } from './resolve.ts';

/** One field of a flattened struct; a nested struct comes before its own fields. */
export interface FlatField {
  /** Names joined by dots from the outermost struct: `proc.parent.pid`. */
  readonly path: string;
  /** The last of them. */
  readonly name: string;
  /** Index in the list of the struct it is a field of; -1 at the top. */
  readonly parent: number;
  /** The type as declared. */
  readonly typeId: number;
  /** Names on the way from the declared type to the one behind it, such as `['gadget_errno', '__u32', 'unsigned int']`; empty for an anonymous one. */
  readonly typeNames: readonly string[];
  /** Bytes from the record's start. */
  readonly offset: number;
  /** First bit in that byte, 0 to 7, and width in bits; 0 and 0 where it is not a bitfield. */
  readonly bitOffset: number;
  readonly bitSize: number;
  /** Bytes; of a bitfield those it touches. */
  readonly size: number;
  /** Reads the field out of a whole record at an offset. */
  readonly reader: ValueReader;
}

const maxFields = 65536;
const maxDepth = 32;

/**
 * Lists all fields of a struct or union, nested ones too, each with the reader chosen for it once; arrays are one field.
 *
 * Throws FormatError `E_BTF_DEPTH` or `E_BTF_SIZE` for structs nested past 32 levels or with more than 65,536 fields.
 *
 * @example
 * import { fieldsOf, type Btf } from 'rawbpf/btf';
 * export function numbersOf(btf: Btf, eventTypeId: number, view: DataView): Map<string, number> {
 *   const numbers = new Map<string, number>();
 *   for (const { path, reader } of fieldsOf(btf, eventTypeId)) if (reader.kind === 'number') numbers.set(path, reader.read(view, 0));
 *   return numbers;
 * }
 */
export function fieldsOf(btf: Btf, typeId: number, options: ReadOptions = {}): readonly FlatField[] {
  const fields: FlatField[] = [];
  collect({ btf, builder: new ReaderBuilder(btf, options), fields }, typeId, -1, 0, 0);
  return fields;
}

/**
 * The reader of one field by its dotted path.
 *
 * Throws UsageError `E_VALUE_FIELD` where the struct has no such field.
 */
export function fieldReader(btf: Btf, typeId: number, path: string, options: ReadOptions = {}): ValueReader {
  let id = typeId;
  let offset = 0;
  const names = path.split('.');
  for (const [index, name] of names.entries()) {
    const member = membersOf(btf, resolveType(btf, id)).find((candidate) => candidate.name === name);
    if (member === undefined) {
      throw new UsageError({ code: 'E_VALUE_FIELD', what: `no field ${path}`, where: { type: btf.nameOf(typeId) || typeId } });
    }
    if (index === names.length - 1) {
      return new ReaderBuilder(btf, options).memberReader(member.type, { ...member.place, offset: offset + member.place.offset });
    }
    offset += member.place.offset;
    id = member.typeId;
  }
  throw new UsageError({ code: 'E_VALUE_FIELD', what: 'an empty path names no field' });
}

interface Collection {
  readonly btf: Btf;
  readonly builder: ReaderBuilder;
  readonly fields: FlatField[];
}

function collect(to: Collection, typeId: number, parent: number, base: number, depth: number): void {
  if (depth > maxDepth) throw new FormatError({ code: 'E_BTF_DEPTH', what: 'structs are nested too deep', where: { type: typeId } });
  const { btf, fields } = to;
  const prefix = parent < 0 ? '' : `${fields[parent]?.path}.`;
  for (const { name, type, typeId: declared, place } of membersOf(btf, resolveType(btf, typeId))) {
    const offset = base + place.offset;
    if (fields.length >= maxFields) {
      throw new FormatError({ code: 'E_BTF_SIZE', what: `a struct has more than ${maxFields} fields`, where: { type: typeId } });
    }
    const index = fields.length;
    fields.push({
      path: prefix + name,
      name,
      parent,
      typeId: declared,
      typeNames: typeNamesOf(btf, declared),
      offset,
      bitOffset: place.bitOffset,
      bitSize: place.bitSize,
      size: place.bitSize > 0 ? Math.ceil((place.bitOffset + place.bitSize) / 8) : sizeOfType(btf, declared),
      reader: to.builder.memberReader(type, { ...place, offset }),
    });
    if (type.kind === 'STRUCT' || type.kind === 'UNION') collect(to, declared, index, offset, depth + 1);
  }
}
