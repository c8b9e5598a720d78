import type { Btf } from '../../../btf/btf.ts';
import { BTF_KIND, BTF_LINKAGE } from '../../../btf/types.ts';
import { SHN, STB, STT } from '../../../elf/constants.ts';
import type { ElfSymbol } from '../../../elf/types.ts';
import { linkError } from './error.ts';
import { externSection, type InputObject, type InputSection } from './input.ts';
import { mapMismatch } from './map-match.ts';
import type { OutputSection } from './output.ts';
import { type TypeRef, typeMismatch } from './type-match.ts';

/** A symbol of the output. */
export interface OutputSymbol {
  readonly name: string;
  type: number;
  binding: number;
  visibility: number;
  /** Null for externs and absolute symbols, whose st_shndx is `special`. */
  section: OutputSection | null;
  readonly special: number;
  value: bigint;
  size: bigint;
}

/** A global symbol: all inputs mean the same by its name. */
export interface GlobalSymbol {
  readonly index: number;
  readonly name: string;
  section: OutputSection | null;
  isExtern: boolean;
  isWeak: boolean;
  /** The declaration that counts, in the input it comes from. */
  declaration: TypeRef;
  /** Id of its VAR or FUNC in the output, 0 until types are merged. */
  typeId: number;
  /** The underlying type has to be taken from the next object whose types are merged. */
  refresh: boolean;
  /** Its place among the variables of its section, -1 until known. */
  variable: number;
}

/** The symbol table of the output, in the order of the inputs. */
export class SymbolTable {
  readonly symbols: OutputSymbol[] = [];
  readonly globals: Map<string, GlobalSymbol> = new Map();

  addObject(input: InputObject): void {
    const declarations = input.btf === null ? null : declarationsOf(input.btf);
    for (const symbol of input.elf.symbols.slice(1)) this.#add(input, symbol, declarations);
  }

  #add(input: InputObject, symbol: ElfSymbol, declarations: Declarations | null): void {
    const isExtern = symbol.sectionIndex === SHN.UNDEF;
    const where = { object: input.name, symbol: symbol.name };
    let section: InputSection | null = null;
    if (!isExtern && symbol.sectionIndex < SHN.LORESERVE) {
      section = input.sections[symbol.sectionIndex] ?? null;
      if (section === null || section.skipped) return;
      // One STT_SECTION symbol a section.
      if (symbol.type === STT.SECTION && section.output !== null && section.output.sectionSymbol >= 0) {
        input.symbolMap[symbol.index] = section.output.sectionSymbol;
        return;
      }
    }
    // Jump tables are global symbols without BTF.
    if (symbol.binding === STB.LOCAL || section?.name === '.jumptables') {
      input.symbolMap[symbol.index] = this.#push(symbol, section);
      return;
    }
    if (declarations === null)
      throw linkError('E_STATIC_LINK_BTF', where, 'the object has no BTF, which tells what global symbols are', 'compile with -g');
    const declaration = declarations.find(symbol.name);
    if (declaration === null) throw linkError('E_STATIC_LINK_BTF', where, 'the BTF has no variable or function of this name');
    if (declaration === 'ambiguous') throw linkError('E_STATIC_LINK_BTF', where, 'the BTF has two variables or functions of this name');
    if (isExtern && declaration.datasec !== null && declaration.datasec !== externSection) {
      section = input.sections.find(({ name }) => name === declaration.datasec) ?? null;
    }
    const ref = { btf: input.btf as Btf, id: declaration.id };
    const known = this.globals.get(symbol.name);
    if (known === undefined) {
      const index = this.#push(symbol, section);
      input.symbolMap[symbol.index] = index;
      const isWeak = symbol.binding === STB.WEAK;
      const output = section?.output ?? null;
      this.globals.set(symbol.name, {
        index,
        name: symbol.name,
        section: output,
        isExtern,
        isWeak,
        declaration: ref,
        typeId: 0,
        refresh: true,
        variable: -1,
      });
      return;
    }
    input.symbolMap[symbol.index] = known.index;
    this.#resolve(known, symbol, section, ref, where);
  }

  /** A symbol that is there already: an extern finds its definition, a weak definition gives way to a strong one. */
  #resolve(known: GlobalSymbol, symbol: ElfSymbol, section: InputSection | null, ref: TypeRef, where: Record<string, string>): void {
    const isExtern = symbol.sectionIndex === SHN.UNDEF;
    const isWeak = symbol.binding === STB.WEAK;
    if (!isExtern && !known.isExtern && !known.isWeak && !isWeak)
      throw linkError('E_STATIC_LINK_TWICE', where, 'two objects define it', 'make one of the definitions __weak');
    const why = known.section?.name === '.maps' ? mapMismatch(known.declaration, ref) : typeMismatch(known.declaration, ref);
    if (why !== null) throw linkError('E_STATIC_LINK_TYPE', where, `objects disagree about it: ${why}`);
    const target = this.symbols[known.index] as OutputSymbol;
    if (!isWeak) {
      target.binding = STB.GLOBAL;
      known.isWeak = false;
    }
    // The stricter visibility counts, wherever it stands.
    target.visibility = Math.max(target.visibility, symbol.visibility);
    if (isExtern || (!known.isExtern && isWeak)) return;
    target.type = symbol.type;
    target.section = section?.output ?? null;
    target.value = BigInt(section?.offset ?? 0) + symbol.value;
    target.size = symbol.size;
    known.section = target.section;
    known.isExtern = false;
    known.declaration = ref;
    known.refresh = true;
  }

  #push(symbol: ElfSymbol, section: InputSection | null): number {
    const isSection = symbol.type === STT.SECTION && section !== null;
    const output = section?.output ?? null;
    const index = this.symbols.length;
    this.symbols.push({
      name: symbol.name,
      type: symbol.type,
      binding: symbol.binding,
      visibility: symbol.visibility,
      section: symbol.sectionIndex === SHN.UNDEF ? null : output,
      special: section === null ? symbol.sectionIndex : SHN.UNDEF,
      value: isSection ? 0n : BigInt(section?.offset ?? 0) + symbol.value,
      size: symbol.size,
    });
    if (isSection && output !== null) output.sectionSymbol = index;
    return index;
  }
}

interface Declarations {
  find(name: string): { id: number; datasec: string | null } | 'ambiguous' | null;
}

/** Finds the VAR or FUNC of a global symbol, and the name of the DATASEC that lists it. */
function declarationsOf(btf: Btf): Declarations {
  const datasecs = new Map<number, number>();
  for (let id = btf.firstId; id < btf.typeCount; id++) {
    if (btf.kindOf(id) !== BTF_KIND.DATASEC) continue;
    const datasec = btf.type(id);
    if (datasec.kind !== 'DATASEC') continue;
    for (const { typeId } of datasec.variables) if (!datasecs.has(typeId)) datasecs.set(typeId, id);
  }
  return {
    find(name) {
      const ids = btf.findAll(name).filter((id) => isGlobal(btf, id));
      const listed = ids.filter((id) => datasecs.has(id)).toSorted((a, b) => (datasecs.get(a) ?? 0) - (datasecs.get(b) ?? 0));
      const [first] = listed;
      const free = ids.at(-1);
      if (first === undefined) return free === undefined ? null : { id: free, datasec: null };
      const datasecId = datasecs.get(first) ?? 0;
      // What comes before the DATASEC and is not in it could be meant as well.
      const before = ids.findLast((id) => id < datasecId);
      return before !== undefined && before !== first ? 'ambiguous' : { id: first, datasec: btf.nameOf(datasecId) };
    },
  };
}

function isGlobal(btf: Btf, id: number): boolean {
  const type = btf.type(id);
  return (type.kind === 'VAR' || type.kind === 'FUNC') && type.linkage !== BTF_LINKAGE.STATIC;
}
