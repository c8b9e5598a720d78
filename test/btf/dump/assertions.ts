// Size and offset assertions for a header, from what bpftool reads in the same BTF: nothing of ours is asked.

interface ShownMember {
  readonly name: string;
  readonly type_id: number;
  readonly bits_offset: number;
  readonly bitfield_size?: number;
}

/** A type as `bpftool -j btf dump` shows it. */
export interface ShownType {
  readonly id: number;
  readonly kind: string;
  readonly name: string;
  readonly size?: number;
  readonly nr_bits?: number;
  readonly type_id?: number;
  readonly vlen?: number;
  readonly members?: readonly ShownMember[];
}

const unnamed = '(anon)';
const composites = new Set(['STRUCT', 'UNION']);
const enums = new Set(['ENUM', 'ENUM64']);
const aliases = new Set(['TYPEDEF', 'CONST', 'VOLATILE', 'RESTRICT', 'TYPE_TAG']);

/**
 * `_Static_assert`s on the size of every named struct, union and enum and the offset of every member that is no bitfield.
 * Where several types share a name, each is looked for among `name`, `name___2`, ... of the header by its members' names.
 */
export function assertionsFor(types: readonly ShownType[], header: string): string[] {
  const byId = new Map(types.map((type) => [type.id, type]));
  const resolve = (id: number): ShownType | undefined => {
    let type = byId.get(id);
    while (type !== undefined && aliases.has(type.kind)) type = byId.get(type.type_id ?? 0);
    return type;
  };
  const membersOf = function* (type: ShownType, base: number): Generator<ShownMember> {
    for (const member of type.members ?? []) {
      const inner = member.name === unnamed ? resolve(member.type_id) : undefined;
      if (inner !== undefined && composites.has(inner.kind)) yield* membersOf(inner, base + member.bits_offset);
      else yield { ...member, bits_offset: base + member.bits_offset };
    }
  };
  const named = types.filter((type) => type.name !== unnamed && (composites.has(type.kind) || (enums.has(type.kind) && type.vlen !== 0)));
  const counts = new Map<string, number>();
  for (const { name } of named) counts.set(name, (counts.get(name) ?? 0) + 1);
  const written = definitionsIn(header);
  const lines: string[] = [];
  for (const type of named) {
    const word = enums.has(type.kind) ? 'enum' : type.kind.toLowerCase();
    const members = [...membersOf(type, 0)];
    const name = counts.get(type.name) === 1 ? type.name : findTag(type, word, members, written);
    if (name === null) continue;
    const tag = `${word} ${name}`;
    lines.push(`_Static_assert(sizeof(${tag}) == ${type.size}, "${tag}");`);
    for (const { name: member, type_id: typeId, bits_offset: at, bitfield_size: width } of members) {
      const base = resolve(typeId);
      const isOdd = base?.kind === 'INT' && base.nr_bits !== (base.size ?? 0) * 8;
      if (width !== undefined || isOdd) continue;
      lines.push(`_Static_assert(__builtin_offsetof(${tag}, ${member}) == ${at / 8}, "${tag}.${member}");`);
    }
  }
  return lines;
}

/** Text of every struct's, union's and enum's definition, by tag. */
function definitionsIn(header: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const [, tag = '', body = ''] of header.matchAll(/^((?:struct|union|enum) \w+) \{\n(.*?)\n\}/gms)) found.set(tag, body);
  return found;
}

function findTag(type: ShownType, word: string, members: readonly ShownMember[], written: ReadonlyMap<string, string>): string | null {
  // Enumerators of namesakes are renamed too: no telling them apart here.
  if (word === 'enum') return null;
  const wanted = members.map((member) => member.name);
  for (let number = 1; number < 20; number++) {
    const name = number === 1 ? type.name : `${type.name}___${number}`;
    const body = written.get(`${word} ${name}`);
    if (body !== undefined && sameNames(wanted, body)) {
      // One header definition for one type: its twin of equal member names is another.
      (written as Map<string, string>).delete(`${word} ${name}`);
      return name;
    }
  }
  return null;
}

function sameNames(wanted: readonly string[], body: string): boolean {
  let at = 0;
  for (const name of wanted) {
    const found = body.slice(at).search(new RegExp(`\\b${name}\\b`));
    if (found < 0) return false;
    at += found + name.length;
  }
  return (body.match(/;/g)?.length ?? 0) <= wanted.length * 3;
}
