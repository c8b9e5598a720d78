import { Btf } from '../../btf/btf.ts';
import { type BtfExt, parseBtfExt } from '../../btf/ext.ts';
import { fixupDatasecs } from '../../btf/fixup.ts';
import { EM, ET } from '../../elf/constants.ts';
import { parseElf } from '../../elf/file.ts';
import type { ElfFile } from '../../elf/types.ts';
import { type ErrorPlace, FormatError, RawbpfError } from '../../error.ts';
import { swapInsns } from '../insn/insn.ts';
import { BPF_MAP_TYPE } from '../uapi/index.ts';
import { type PlacedMap, readBtfMaps } from './btf-maps.ts';
import { collectCodeRelocations } from './code-relocations.ts';
import { dataMap, kconfigMap } from './data-maps.ts';
import { collectExterns, type PlacedExtern } from './extern.ts';
import { collectFunctions } from './functions.ts';
import { readLegacyMaps } from './legacy-maps.ts';
import { fillMapSlots, fillStructOps } from './map-relocations.ts';
import type { MapDraft } from './map-spec.ts';
import { collectPrograms } from './programs.ts';
import { collectSections, type ObjectSections } from './sections.ts';
import type { CodeSection, ObjectSpec } from './spec.ts';
import { readStructOpsMaps } from './struct-ops-maps.ts';
import { collectVariables } from './variables.ts';

/** How {@link openObject} judges an object. */
export interface OpenOptions {
  /** The object's name, which the names of its data maps begin with: the file's, of which what comes before the first dot counts. */
  readonly name?: string;
  /**
   * Refuse whatever libbpf refuses. Else also taken: legacy `maps` sections, section names of other loaders, ring buffers with a
   * value type, static functions and calls outside of .text, externs without BTF that nothing uses, code whose symbols have no type.
   */
  readonly strict?: boolean;
  /** Whether section names that libbpf does not know are taken; the opposite of `strict` unless said. */
  readonly laxSections?: boolean;
  /** The kernel's page size, which ring buffer sizes are rounded to; 4096 unless said. */
  readonly pageSize?: number;
}

/**
 * Reads a compiled BPF object: maps, programs, variables, externs, and the relocations of its code. Nothing is asked of a
 * kernel, so the result is the same on every machine. Throws {@link FormatError} or {@link UnsupportedError} with section, symbol and
 * instruction; `bytes` is not changed, and must not be afterwards.
 *
 * @example
 * import { openObject } from 'rawbpf/object';
 * import { readFileSync } from 'node:fs';
 * function programs(path: string) {
 *   return openObject(readFileSync(path)).programs.map((program) => program.name);
 * }
 */
export function openObject(bytes: Uint8Array, options: OpenOptions = {}): ObjectSpec {
  // libbpf names an object by its file's name up to the first dot.
  const name = (options.name ?? 'object').split('.', 1)[0] ?? '';
  const strict = options.strict ?? false;
  const elf = parseElf(bytes);
  checkKind(elf);
  const sections = collectSections(elf, strict);
  const functions = collectFunctions(elf, sections.code, strict);
  const insns = new Map(sections.code.map(({ index, data }) => [index, elf.header.littleEndian ? data : swapInsns(data)]));
  const insnsOf = (index: number): Uint8Array => insns.get(index) ?? new Uint8Array(0);

  const { btf, btfExt, externs } = readTypes(sections, strict);
  const placed =
    sections.maps === null || btf === null ? [] : readBtfMaps(sections.maps, btf, { strict, pageSize: options.pageSize ?? 4096 });
  const maps = collectMaps(sections, placed, btf, externs, name);
  const arena = placeArena(sections, maps, strict ? (options.pageSize ?? 4096) : null);
  const code = new Map<number, CodeSection>();
  const relocations = collectCodeRelocations({ sections, functions, maps, externs, arena, strict }, insnsOf);
  for (const { index, name: sectionName } of sections.code) {
    const section = {
      index,
      name: sectionName,
      insns: insnsOf(index),
      relocations: relocations.get(index) ?? [],
      functions: functions.get(index) ?? [],
    };
    code.set(index, section);
  }
  const programs = collectPrograms(sections, functions, code, { strict, laxSections: options.laxSections ?? !strict });
  fillMapSlots(sections, placed, programs);
  if (btf !== null) fillStructOps(sections, maps, programs, btf);
  return {
    name,
    littleEndian: elf.header.littleEndian,
    license: sections.license,
    kernVersion: sections.kernVersion,
    btf,
    btfExt,
    maps,
    programs,
    variables: collectVariables(maps, elf, btf),
    externs: externs.map(({ symbolIndex: _symbol, declarationId: _declaration, datasecId: _datasec, ...extern }) => extern),
    code,
    textIndex: sections.textIndex,
    jumpTables: sections.jumpTables?.data ?? null,
    strict,
  };
}

function checkKind(elf: ElfFile): void {
  const { type, machine } = elf.header;
  if (type !== ET.REL) throw notBpf(`its ELF type is ${type}, not a relocatable file`, { field: 'e_type', offset: 16 });
  // Old LLVM left e_machine zero.
  if (machine !== EM.NONE && machine !== EM.BPF) throw notBpf(`it is for machine ${machine}`, { field: 'e_machine', offset: 18 });
  if (elf.symbols.length === 0) throw notBpf('it has no symbol table: was it stripped?', { section: '.symtab' });
}

function notBpf(why: string, where: ErrorPlace): FormatError {
  return new FormatError({ code: 'E_NOT_BPF', what: 'not a BPF object', where, why, next: 'compile with clang -target bpf -c' });
}

interface ObjectTypes {
  readonly btf: Btf | null;
  readonly btfExt: BtfExt | null;
  readonly externs: PlacedExtern[];
}

/** BTF completed from the symbols. Broken BTF is an error only where maps, struct_ops or externs need it. */
function readTypes(sections: ObjectSections, strict: boolean): ObjectTypes {
  const { elf } = sections;
  const needed = sections.maps !== null || sections.structOps.length > 0;
  const raw = attempt(needed, () => (sections.btf === null ? null : Btf.parse(sections.btf.data, { name: '.BTF' })));
  if (raw === null && needed) {
    throw new FormatError({
      code: 'E_NO_BTF',
      what: 'the object has no BTF',
      where: { section: '.BTF' },
      why: 'its maps are described by it',
      next: 'compile with -g',
    });
  }
  const { btfExt: extSection } = sections;
  const btfExt = raw === null || extSection === null ? null : attempt(needed, () => parseBtfExt(extSection.data, raw));
  const externs = collectExterns(elf, raw, strict);
  const btf = raw === null ? null : Btf.parse(fixupDatasecs(raw, elf), { name: '.BTF' });
  return { btf, btfExt, externs };
}

function attempt<T>(needed: boolean, read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if (needed || !(error instanceof RawbpfError)) throw error;
    return null;
  }
}

/** In libbpf's order: declared maps, data sections, kconfig, struct_ops. */
function collectMaps(
  sections: ObjectSections,
  placed: readonly PlacedMap[],
  btf: Btf | null,
  externs: readonly PlacedExtern[],
  objectName: string,
): MapDraft[] {
  const maps = sections.legacyMaps.flatMap((section) => readLegacyMaps(sections.elf, section, btf));
  maps.push(...placed.map(({ map }) => map));
  maps.push(...sections.data.map((data) => dataMap(data, btf, objectName)));
  const last = externs.findLast(({ kind }) => kind === 'kconfig');
  if (last !== undefined) {
    const symbolTable = sections.elf.sections.find(({ name }) => name === '.symtab')?.index ?? 0;
    maps.push(kconfigMap(last.offset + last.size, symbolTable, btf, objectName));
  }
  if (btf !== null) maps.push(...sections.structOps.flatMap((section) => readStructOpsMaps(section, btf)));
  return maps;
}

/** The one arena map holds the globals of .addr_space.1. Whether they fit is asked where a page size is given: a user may size it yet. */
function placeArena(sections: ObjectSections, maps: readonly MapDraft[], pageSize: number | null): MapDraft | null {
  const [arena, second] = maps.filter(({ type }) => type === BPF_MAP_TYPE.BPF_MAP_TYPE_ARENA);
  if (second !== undefined) throw arenaError(`maps ${arena?.name} and ${second.name} are both arenas`, 'an object has one arena');
  if (sections.arena === null) return arena ?? null;
  if (arena === undefined) throw arenaError('there are __arena variables, but no arena', 'declare a map of type BPF_MAP_TYPE_ARENA');
  const { length } = sections.arena.data;
  if (pageSize !== null && Math.ceil(length / pageSize) > arena.maxEntries) {
    throw arenaError(
      `its globals have ${length} bytes, the arena ${arena.maxEntries} pages`,
      'make max_entries, which counts pages, larger',
    );
  }
  arena.data = sections.arena.data.slice();
  return arena;
}

function arenaError(why: string, next: string): FormatError {
  return new FormatError({ code: 'E_ARENA', what: 'cannot place the arena', where: { section: '.addr_space.1' }, why, next });
}
