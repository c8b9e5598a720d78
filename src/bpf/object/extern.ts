import type { Btf } from '../../btf/btf.ts';
import { alignOf, knownSizeOf, skipModifiersAndTypedefs } from '../../btf/resolve.ts';
import { BTF_INT, BTF_KIND, BTF_LINKAGE } from '../../btf/types.ts';
import { STB } from '../../elf/constants.ts';
import type { ElfFile, ElfSymbol } from '../../elf/types.ts';
import { FormatError, type RawbpfError, UnsupportedError } from '../../error.ts';
import { isExtern } from './functions.ts';
import type { ExternSpec, KconfigType } from './spec.ts';

/** An extern with what only the opening of an object needs. */
export interface PlacedExtern extends ExternSpec {
  /** Its index in .symtab. */
  readonly symbolIndex: number;
  /** BTF ids of its VAR or FUNC and of the DATASEC that lists it. */
  readonly declarationId: number;
  readonly datasecId: number;
}

/**
 * The externs of an object, in libbpf's order: kconfig values by alignment (largest first), size and name, each with its place
 * in the .kconfig map, then kernel symbols by name. Without strict, symbols that have no BTF are left out: only code that uses them fails.
 */
export function collectExterns(elf: ElfFile, btf: Btf | null, strict: boolean): PlacedExtern[] {
  const symbols = elf.symbols.filter(isExtern);
  if (symbols.length === 0) return [];
  if (btf === null) {
    if (strict) throw externError(symbols[0]?.name ?? '', 'the object has no BTF to say what it is');
    return [];
  }
  const datasecs = datasecsByVariable(btf);
  const found: Unplaced[] = [];
  for (const symbol of symbols) {
    const declarationId = declarationOf(btf, symbol.name);
    const datasecId = declarationId === null ? undefined : datasecs.get(declarationId);
    if (declarationId !== null && datasecId !== undefined) found.push(externOf(btf, symbol, declarationId, datasecId));
    else if (strict) throw externError(symbol.name, declarationId === null ? 'there is no BTF for it' : 'its BTF is in no DATASEC');
  }
  return placeKconfig(found.toSorted(compareExterns));
}

interface Unplaced extends Omit<PlacedExtern, 'offset'> {
  readonly align: number;
}

/** The VAR or FUNC that declares an extern of this name: the first of the name has to be extern. */
function declarationOf(btf: Btf, name: string): number | null {
  for (const id of btf.findAll(name)) {
    const type = btf.type(id);
    if (type.kind !== 'VAR' && type.kind !== 'FUNC') continue;
    if (type.linkage !== BTF_LINKAGE.EXTERN) throw externError(name, `its BTF ${type.kind} is not extern`);
    return id;
  }
  return null;
}

function datasecsByVariable(btf: Btf): ReadonlyMap<number, number> {
  const datasecs = new Map<number, number>();
  for (let id = btf.firstId; id < btf.typeCount; id++) {
    if (btf.kindOf(id) !== BTF_KIND.DATASEC) continue;
    const datasec = btf.type(id);
    if (datasec.kind !== 'DATASEC') continue;
    for (const info of datasec.variables) if (!datasecs.has(info.typeId)) datasecs.set(info.typeId, id);
  }
  return datasecs;
}

function externOf(btf: Btf, symbol: ElfSymbol, declarationId: number, datasecId: number): Unplaced {
  const declaration = btf.type(declarationId);
  const section = btf.nameOf(datasecId);
  if (declaration.kind !== 'VAR' && declaration.kind !== 'FUNC') throw externError(symbol.name, 'it is neither a variable nor a function');
  const common = { name: symbol.name, weak: symbol.binding === STB.WEAK, symbolIndex: symbol.index, declarationId, datasecId };
  if (section === '.ksyms') {
    const typeId = skipModifiersAndTypedefs(btf, declaration.typeId);
    const kind = declaration.kind === 'FUNC' ? 'kfunc' : typeId === 0 ? 'ksym' : 'ksym_typed';
    return { ...common, kind, typeId, size: 0, align: 0, kconfigType: null, signed: false };
  }
  if (section !== '.kconfig') {
    throw unsupported(
      symbol.name,
      `the object does not define it, and it is in ${section}, not in .kconfig or .ksyms`,
      'link the object that defines it',
    );
  }
  if (declaration.kind === 'FUNC') throw unsupported(symbol.name, 'a function cannot be in .kconfig');
  const { typeId } = declaration;
  const size = knownSizeOf(btf, typeId);
  if (size === null || size === 0) throw externError(symbol.name, 'its type has no size');
  const kconfig = kconfigTypeOf(btf, typeId);
  if (kconfig === null) throw unsupported(symbol.name, 'a kconfig value is a bool, char, integer, enum libbpf_tristate or char array');
  return { ...common, kind: 'kconfig', typeId, size, align: alignOf(btf, typeId), kconfigType: kconfig.type, signed: kconfig.signed };
}

function kconfigTypeOf(btf: Btf, typeId: number): { type: KconfigType; signed: boolean } | null {
  const type = btf.type(skipModifiersAndTypedefs(btf, typeId));
  switch (type.kind) {
    case 'INT': {
      if ((type.encoding & BTF_INT.BOOL) !== 0) return type.size === 1 ? { type: 'bool', signed: false } : null;
      const signed = (type.encoding & BTF_INT.SIGNED) !== 0;
      if (type.size === 1) return { type: 'char', signed };
      return [2, 4, 8].includes(type.size) ? { type: 'int', signed } : null;
    }
    case 'ENUM':
    case 'ENUM64':
      if (type.name !== 'libbpf_tristate' || (type.kind === 'ENUM' && type.size !== 4)) return null;
      return { type: 'tristate', signed: false };
    case 'ARRAY':
      if (type.count === 0 || kconfigTypeOf(btf, type.typeId)?.type !== 'char') return null;
      return { type: 'string', signed: false };
    default:
      return null;
  }
}

function compareExterns(a: Unplaced, b: Unplaced): number {
  const kconfig = Number(b.kind === 'kconfig') - Number(a.kind === 'kconfig');
  if (kconfig !== 0) return kconfig;
  if (a.kind === 'kconfig') {
    if (a.align !== b.align) return b.align - a.align;
    if (a.size !== b.size) return a.size - b.size;
  }
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}

function placeKconfig(externs: readonly Unplaced[]): PlacedExtern[] {
  let end = 0;
  return externs.map(({ align, ...extern }) => {
    if (extern.kind !== 'kconfig') return { ...extern, offset: 0 };
    const offset = Math.ceil(end / align) * align;
    end = offset + extern.size;
    return { ...extern, offset };
  });
}

function externError(name: string, why: string): RawbpfError {
  return new FormatError({
    code: 'E_EXTERN',
    what: 'cannot tell what an extern is',
    where: { extern: name },
    why,
    next: 'compile with -g',
  });
}

function unsupported(name: string, why: string, next?: string): RawbpfError {
  return new UnsupportedError({
    code: 'E_EXTERN',
    what: 'unsupported extern',
    where: { extern: name },
    why,
    ...(next === undefined ? {} : { next }),
  });
}
