import { Btf } from '../../../btf/btf.ts';
import { dedupBtf } from '../../../btf/dedup.ts';
import { SHF, SHT, STT } from '../../../elf/constants.ts';
import { FormatError } from '../../../error.ts';
import { BPF_OPCODE } from '../../insn/opcodes.ts';
import { linkError } from './error.ts';
import { addExt, encodeExt } from './ext.ts';
import { type InputObject, type InputRelocations, type InputSection, readInput } from './input.ts';
import { OutputSection } from './output.ts';
import { SymbolTable } from './symbols.ts';
import { TypeTable } from './types.ts';
import { firstSectionIndex, writeElf } from './write-elf.ts';

/** An object to link with others. */
export interface LinkInput {
  /** For messages: its path. */
  readonly name: string;
  readonly bytes: Uint8Array;
}

/**
 * Links compiled BPF objects into one, as libbpf's static linker does: sections of one name are put one after another, an
 * extern finds its definition in another object, a weak definition gives way to a strong one, globals have to agree in
 * their types. Externs that no object defines stay externs. Throws {@link StaticLinkError} that names object and symbol,
 * FormatError that names the object where one is malformed.
 *
 * @example
 * import { linkObjects } from 'rawbpf/object';
 * import { readFileSync, writeFileSync } from 'node:fs';
 * function link(output: string, inputs: string[]) {
 *   writeFileSync(output, linkObjects(inputs.map((name) => ({ name, bytes: readFileSync(name) }))));
 * }
 */
export function linkObjects(inputs: readonly LinkInput[]): Uint8Array {
  const linker = new Linker();
  for (const { name, bytes } of inputs) {
    try {
      linker.add(readInput(name, bytes));
    } catch (error) {
      throw withObject(error, name);
    }
  }
  return linker.finish();
}

/** What is malformed in an object, told with its name: it is one of many. */
function withObject(error: unknown, name: string): unknown {
  if (!(error instanceof FormatError) || 'object' in error.where) return error;
  const { code, what, where, why, next } = error;
  return new FormatError({
    code,
    what,
    where: { object: name, ...where },
    cause: error,
    ...(why === null ? {} : { why }),
    ...(next === null ? {} : { next }),
  });
}

class Linker {
  readonly #sections: OutputSection[] = [];
  readonly #byName = new Map<string, OutputSection>();
  readonly #symbols = new SymbolTable();
  readonly #types = new TypeTable();
  #littleEndian: boolean | null = null;
  #nextIndex = firstSectionIndex;

  add(input: InputObject): void {
    const { littleEndian } = input.elf.header;
    this.#littleEndian ??= littleEndian;
    if (this.#littleEndian !== littleEndian)
      throw linkError('E_STATIC_LINK_INPUT', { object: input.name }, 'its byte order is not that of the others');
    const bytes = new Map<InputSection, Uint8Array>();
    for (const section of input.sections) {
      if (section.skipped || !isData(section)) continue;
      const appended = this.#appendData(input, section);
      if (appended !== null) bytes.set(section, appended);
    }
    this.#symbols.addObject(input);
    for (const relocations of input.relocations) this.#appendRelocations(input, relocations, bytes);
    this.#types.addObject(input, this.#symbols);
    addExt(input, this.#types.strings);
  }

  finish(): Uint8Array {
    if (this.#littleEndian === null) throw linkError('E_STATIC_LINK_INPUT', {}, 'there are no objects');
    const extra: { name: string; bytes: Uint8Array }[] = [];
    if (!this.#types.isEmpty) {
      this.#types.addDatasecs(this.#sections);
      // Before the strings are written: it names sections.
      const ext = encodeExt(this.#sections, this.#types.strings, this.#littleEndian);
      const btf = Btf.parse(this.#types.encode(this.#littleEndian), { name: 'output' });
      const compact = dedupBtf(btf, ext === null ? {} : { ext });
      extra.push({ name: '.BTF', bytes: compact.bytes });
      if (compact.ext !== null) extra.push({ name: '.BTF.ext', bytes: compact.ext });
    }
    const sections = this.#sections.filter(({ index }) => index > 0).toSorted((a, b) => a.index - b.index);
    return writeElf({ littleEndian: this.#littleEndian, sections, symbols: this.#symbols.symbols, extra });
  }

  #appendData(input: InputObject, section: InputSection): Uint8Array | null {
    const output = this.#output(section);
    section.output = output;
    if (section.elf === null) return null;
    if ((section.name === 'license' || section.name === 'version') && output.size > 0) {
      if (!output.holds(section))
        throw linkError('E_STATIC_LINK_SECTION', { object: input.name, section: section.name }, 'the objects do not agree about it');
      section.skipped = true;
      return null;
    }
    return output.append(section, input.name);
  }

  /** The output section of a name; a shell becomes a section of the file when there is something to put into it. */
  #output(section: InputSection): OutputSection {
    let output = this.#byName.get(section.name);
    if (output === undefined) {
      output = new OutputSection(section.name);
      this.#byName.set(section.name, output);
      this.#sections.push(output);
    }
    const { elf } = section;
    if (output.index === 0 && elf !== null) {
      output.index = this.#nextIndex++;
      output.type = elf.type;
      output.flags = elf.flags;
      output.align = Math.max(1, elf.addralign);
      output.entsize = elf.entsize;
    }
    return output;
  }

  #appendRelocations(input: InputObject, { table, target, records }: InputRelocations, bytes: ReadonlyMap<InputSection, Uint8Array>): void {
    if (target.output === null || target.skipped) return;
    const output = this.#output(table);
    output.relocates = target.output;
    const code = (target.elf?.flags ?? 0n) & SHF.EXECINSTR ? bytes.get(target) : undefined;
    for (const [index, { offset, type, symbolIndex }] of records.entries()) {
      const symbol = input.symbolMap[symbolIndex] ?? -1;
      const where = { object: input.name, section: table.name, relocation: index };
      if (symbol < 0) throw linkError('E_STATIC_LINK_RELOCATION', where, 'its symbol is in a section that is left out');
      output.relocations.push({ offset: offset + target.offset, type, symbol });
      const source = input.elf.symbols[symbolIndex];
      if (source?.type !== STT.SECTION) continue;
      const moved = input.sections[source.sectionIndex]?.offset ?? 0;
      if (code === undefined)
        throw linkError(
          'E_STATIC_LINK_RELOCATION',
          where,
          'relocations of data cannot be against a section',
          'make what it points to global',
        );
      moveAddend(code, offset, moved, input.elf.header.littleEndian);
    }
  }
}

function isData(section: InputSection): boolean {
  return section.elf === null || section.elf.type === SHT.PROGBITS || section.elf.type === SHT.NOBITS;
}

/** A static function or variable is found by its place in its section, which now begins later: in slots for calls, else in bytes. */
function moveAddend(code: Uint8Array, at: number, moved: number, littleEndian: boolean): void {
  const view = new DataView(code.buffer, code.byteOffset, code.byteLength);
  const imm = view.getInt32(at + 4, littleEndian);
  view.setInt32(at + 4, imm + (code[at] === BPF_OPCODE.CALL ? moved / 8 : moved), littleEndian);
}
