import { FormatError } from '../../error.ts';
import type { Btf } from '../btf.ts';
import type { BtfEnum } from '../types.ts';
import { membersOf, ReaderBuilder, type PlacedMember, type ValueReader } from '../value/reader.ts';
import { resolveType, sizeOfType, type ResolvedType } from '../value/resolve.ts';
import { cDeclaration } from './c-type.ts';
import { docComment, propertyName, TypeNames } from './names.ts';

/** What {@link declareTypes} declares beside the types themselves; names are the object's. */
export interface DeclareOptions {
  /** Type ids of event structs by data source. */
  readonly events?: readonly { readonly name: string; readonly typeId: number }[];
  /** Maps with their key and value types; 0 where BTF has none. */
  readonly maps?: readonly { readonly name: string; readonly keyTypeId: number; readonly valueTypeId: number }[];
  /** Global variables. */
  readonly variables?: readonly { readonly name: string; readonly typeId: number }[];
  /** Lines of a comment for the top. */
  readonly comment?: readonly string[];
}

/** Anonymous structs nested deeper than this are refused. */
const maxDepth = 32;
/** More text than this is no declaration of anything. */
const maxLength = 1 << 25;

/**
 * Writes TypeScript declarations (a .d.ts) of what decoders give for types: an interface for each struct and union, an alias
 * for each enum, with the C declaration, the offset and the size of every member as documentation. With `events`, `maps` and
 * `variables` come interfaces `Events`, `Maps` and `Variables` over them, by name.
 *
 * Throws FormatError (`E_BTF_...`) for types that contradict themselves.
 *
 * @example
 * import { declareTypes, type Btf } from 'rawbpf/btf';
 * export const declarationsOf = (btf: Btf): string => declareTypes(btf, btf.findAll('event'));
 */
export function declareTypes(btf: Btf, typeIds: readonly number[], options: DeclareOptions = {}): string {
  const writer = new DeclarationWriter(btf);
  for (const id of typeIds) writer.declare(id);
  const events = (options.events ?? []).map(({ name, typeId }) => writer.property(name, typeId));
  const maps = (options.maps ?? []).map(({ name, keyTypeId, valueTypeId }) => writer.map(name, keyTypeId, valueTypeId));
  const variables = (options.variables ?? []).map(({ name, typeId }) => writer.property(name, typeId));
  let text = options.comment === undefined ? '' : docComment(options.comment, '');
  text += writer.text;
  if (options.events !== undefined) text += `/** Events by data source. */\nexport interface Events {\n${events.join('')}}\n\n`;
  if (options.maps !== undefined) text += `/** Keys and values by map. */\nexport interface Maps {\n${maps.join('')}}\n\n`;
  if (options.variables !== undefined)
    text += `/** Values by global variable. */\nexport interface Variables {\n${variables.join('')}}\n\n`;
  // A file that exports nothing would be a script.
  return text.includes('export ') ? text.trimEnd() + '\n' : `${text}export {};\n`;
}

class DeclarationWriter {
  text = '';
  readonly #btf: Btf;
  readonly #builder: ReaderBuilder;
  readonly #names = new TypeNames();
  /** Name of each named struct, union and enum declared so far. */
  readonly #declared = new Map<number, string>();
  #depth = 0;

  constructor(btf: Btf) {
    this.#btf = btf;
    this.#builder = new ReaderBuilder(btf);
  }

  /** Declares a type under its own name: structs and enums once, anything else as an alias. */
  declare(id: number): void {
    const type = resolveType(this.#btf, id);
    if (isNominal(type) && type.name !== '') {
      this.#nominal(type);
      return;
    }
    const shape = this.#shape(type, this.#builder.reader(id), '');
    this.text += `${docComment([`\`${cDeclaration(this.#btf, id, '')}\``], '')}export type ${this.#names.take(this.#btf.nameOf(id))} = ${shape};\n\n`;
  }

  property(name: string, typeId: number): string {
    const shape = this.#shape(resolveType(this.#btf, typeId), this.#builder.reader(typeId), '\t');
    const doc = `\`${cDeclaration(this.#btf, typeId, name)}\`, ${bytes(sizeOfType(this.#btf, typeId))}`;
    return `${docComment([doc], '\t')}\t${propertyName(name)}: ${shape};\n`;
  }

  map(name: string, keyTypeId: number, valueTypeId: number): string {
    const side = (word: string, typeId: number): string => {
      const known = typeId > 0;
      const shape = known ? this.#shape(resolveType(this.#btf, typeId), this.#builder.reader(typeId), '\t\t') : 'Uint8Array';
      const doc = known ? `\`${cDeclaration(this.#btf, typeId, '')}\`, ${bytes(sizeOfType(this.#btf, typeId))}` : 'Without a type in BTF.';
      return `${docComment([doc], '\t\t')}\t\t${word}: ${shape};\n`;
    };
    return `\t${propertyName(name)}: {\n${side('key', keyTypeId)}${side('value', valueTypeId)}\t};\n`;
  }

  /** The TypeScript type of what `reader` gives. */
  #shape(type: ResolvedType, reader: ValueReader, indent: string): string {
    switch (reader.kind) {
      case 'number':
      case 'bigint':
        return isNominal(type) && type.name !== '' ? this.#nominal(type) : reader.kind;
      case 'bool':
        return 'boolean';
      case 'text':
        return 'string';
      case 'bytes':
        return 'Uint8Array';
      case 'null':
        return 'null';
      case 'array': {
        if (type.kind !== 'ARRAY') return 'unknown[]';
        const element = this.#shape(resolveType(this.#btf, type.typeId), reader.element, indent);
        return `${element}[]`;
      }
      case 'object':
        if (type.name !== '' && type.kind !== 'DATASEC') return this.#nominal(type);
        return this.#members(type, indent);
      default:
        return 'unknown';
    }
  }

  /** The name of a struct, union or enum, which it declares when asked first. */
  #nominal(type: ResolvedType): string {
    const known = this.#declared.get(type.id);
    if (known !== undefined) return known;
    const name = this.#names.take(type.name);
    this.#declared.set(type.id, name);
    if (type.kind === 'ENUM' || type.kind === 'ENUM64') {
      this.text += `${docComment(enumDoc(type), '')}export type ${name} = ${type.size === 8 ? 'bigint' : 'number'};\n\n`;
      return name;
    }
    const size = sizeOfType(this.#btf, type.id);
    const members = this.#members(type, '');
    this.text += `${docComment([`\`${type.kind.toLowerCase()} ${type.name}\`, ${bytes(size)}`], '')}export interface ${name} ${members}\n\n`;
    if (this.text.length > maxLength) {
      throw new FormatError({
        code: 'E_BTF_SIZE',
        what: 'the declarations would have no end',
        where: { ...this.#btf.where(), id: type.id },
      });
    }
    return name;
  }

  #members(type: ResolvedType, indent: string): string {
    if (++this.#depth > maxDepth) {
      throw new FormatError({ code: 'E_BTF_DEPTH', what: 'structs are nested too deep', where: { ...this.#btf.where(), id: type.id } });
    }
    let text = '{\n';
    const seen = new Set<string>();
    for (const member of membersOf(this.#btf, type)) {
      // Two members of one name are not C: the later one is what a decoder keeps, and TypeScript takes each name once.
      if (seen.has(member.name)) continue;
      seen.add(member.name);
      text += docComment([this.#memberDoc(member)], `${indent}\t`);
      const shape = this.#shape(member.type, this.#builder.memberReader(member.type, member.place), `${indent}\t`);
      text += `${indent}\t${propertyName(member.name)}: ${shape};\n`;
      if (text.length > maxLength) break;
    }
    this.#depth--;
    return `${text}${indent}}`;
  }

  #memberDoc({ name, typeId, place }: PlacedMember): string {
    const declaration = `\`${cDeclaration(this.#btf, typeId, name)}${place.bitSize > 0 ? ` : ${place.bitSize}` : ''}\``;
    if (place.bitSize > 0) return `${declaration}, at byte ${place.offset}, bit ${place.bitOffset}`;
    return `${declaration}, at byte ${place.offset}, ${bytes(sizeOfType(this.#btf, typeId))}`;
  }
}

function isNominal(type: ResolvedType): boolean {
  return type.kind === 'STRUCT' || type.kind === 'UNION' || type.kind === 'ENUM' || type.kind === 'ENUM64';
}

function enumDoc(type: BtfEnum): string[] {
  const shown = type.values.slice(0, 64).map(({ name, value }) => `${name} = ${value}`);
  if (type.values.length > shown.length) shown.push(`and ${type.values.length - shown.length} more`);
  return [`\`enum ${type.name}\`:`, ...shown];
}

function bytes(count: number): string {
  return count === 1 ? '1 byte' : `${count} bytes`;
}
