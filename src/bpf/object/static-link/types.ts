import type { Btf } from '../../../btf/btf.ts';
import { encodeSections, infoWord } from '../../../btf/encode.ts';
import { kindOfInfo, visitStringWords, visitTypeWords, vlenOfInfo } from '../../../btf/refs.ts';
import { knownSizeOf, referencedId } from '../../../btf/resolve.ts';
import { StringPool } from '../../../btf/string-pool.ts';
import { BTF_KIND, BTF_LINKAGE } from '../../../btf/types.ts';
import { linkError } from './error.ts';
import { type InputObject, type InputSection, variableOffsets } from './input.ts';
import type { OutputSection } from './output.ts';
import type { GlobalSymbol, SymbolTable } from './symbols.ts';

/** The BTF of the output: the types of all inputs, a global variable or function once, sections made anew. */
export class TypeTable {
  readonly strings: StringPool = new StringPool(null);
  /** Types as words; id 1 is the first. */
  readonly #types: Uint32Array[] = [];

  get isEmpty(): boolean {
    return this.#types.length === 0;
  }

  addObject(input: InputObject, symbols: SymbolTable): void {
    const { btf } = input;
    if (btf === null) return;
    const first = this.#types.length;
    input.typeMap = new Uint32Array(btf.typeCount);
    for (let id = btf.firstId; id < btf.typeCount; id++) this.#addType(input, btf, id, symbols);
    this.#remap(input, first);
    for (const symbol of symbols.globals.values()) this.#refresh(input, btf, symbol);
    for (const section of input.sections) {
      if (section.datasecId !== 0 && !section.skipped && section.output !== null)
        this.#addVariables(input, btf, section, section.output, symbols);
    }
  }

  /** Appends a DATASEC for each section; variables in the order that they came. */
  addDatasecs(sections: readonly OutputSection[]): void {
    for (const section of sections) {
      if (!section.hasBtf) continue;
      const variables = section.variables.flatMap(({ typeId, offset, size }) => [typeId, offset, size]);
      this.#types.push(
        Uint32Array.of(this.strings.add(section.name), infoWord(BTF_KIND.DATASEC, section.variables.length), section.size, ...variables),
      );
    }
  }

  encode(littleEndian: boolean): Uint8Array {
    const types = new Uint8Array(this.#types.reduce((sum, words) => sum + words.length * 4, 0));
    const view = new DataView(types.buffer);
    let at = 0;
    for (const words of this.#types) {
      for (const word of words) {
        view.setUint32(at, word, littleEndian);
        at += 4;
      }
    }
    return encodeSections({ littleEndian, flags: 0, types, strings: this.strings.encode(), layout: new Uint8Array(0) });
  }

  #addType(input: InputObject, btf: Btf, id: number, symbols: SymbolTable): void {
    if (btf.kindOf(id) === BTF_KIND.DATASEC) return;
    const global = isGlobal(btf, id) ? symbols.globals.get(btf.nameOf(id)) : null;
    // A global without a symbol is in a section that is left out: the license of a second object.
    if (global === undefined) return;
    if (global !== null && global.typeId !== 0) {
      input.typeMap[id] = global.typeId;
      return;
    }
    const words = wordsOf(btf, id);
    visitStringWords(kindOfInfo(words[1] as number), vlenOfInfo(words[1] as number), (word) => {
      const offset = words[word] as number;
      words[word] = offset === 0 ? 0 : this.strings.addBytes(btf.stringBytes(offset));
    });
    const newId = this.#types.push(words);
    input.typeMap[id] = newId;
    if (global !== null) global.typeId = newId;
  }

  #remap(input: InputObject, first: number): void {
    for (const words of this.#types.slice(first)) {
      const info = words[1] as number;
      visitTypeWords(kindOfInfo(info), vlenOfInfo(info), (word) => {
        const id = words[word] as number;
        const mapped = input.typeMap[id];
        if (id !== 0 && (mapped === undefined || mapped === 0)) {
          throw linkError('E_STATIC_LINK_BTF', { object: input.name, id }, 'a type refers to one that is left out');
        }
        words[word] = mapped as number;
      });
    }
  }

  /** Where this object's declaration counts, the global's underlying type and linkage are its. */
  #refresh(input: InputObject, btf: Btf, symbol: GlobalSymbol): void {
    if (!symbol.refresh || symbol.typeId === 0 || symbol.declaration.btf !== btf) return;
    symbol.refresh = false;
    const words = this.#types[symbol.typeId - 1] as Uint32Array;
    words[2] = input.typeMap[referencedId(btf, symbol.declaration.id)] as number;
    if (symbol.isExtern) return;
    if (kindOfInfo(words[1] as number) === BTF_KIND.VAR) words[3] = BTF_LINKAGE.GLOBAL;
    else words[1] = infoWord(BTF_KIND.FUNC, BTF_LINKAGE.GLOBAL);
  }

  #addVariables(input: InputObject, btf: Btf, section: InputSection, output: OutputSection, symbols: SymbolTable): void {
    const datasec = btf.type(section.datasecId);
    if (datasec.kind !== 'DATASEC') return;
    // Even an empty one: the compiler may have put unnamed values into the section.
    output.hasBtf = true;
    const offsets = variableOffsets(input, section, datasec);
    for (const [i, { typeId, size }] of datasec.variables.entries()) {
      const newId = input.typeMap[typeId] ?? 0;
      if (newId === 0) continue;
      const symbol = isGlobal(btf, typeId) ? symbols.globals.get(btf.nameOf(typeId)) : undefined;
      const where = { object: input.name, section: section.name, variable: btf.nameOf(typeId) };
      if (symbol !== undefined && symbol.section !== output)
        throw linkError('E_STATIC_LINK_SECTION', where, `another object has it in section ${symbol.section?.name ?? externName}`);
      if (symbol === undefined || symbol.variable < 0) {
        const count = output.variables.push({ typeId: newId, offset: section.offset + (offsets[i] as number), size });
        if (symbol !== undefined) symbol.variable = count - 1;
        continue;
      }
      // The declaration that counts now may be elsewhere, and of another size: an array that an extern leaves open.
      const known = output.variables[symbol.variable];
      if (known === undefined || symbol.declaration.btf !== btf || btf.kindOf(typeId) !== BTF_KIND.VAR) continue;
      known.offset = section.offset + (offsets[i] as number);
      known.size = knownSizeOf(btf, typeId) ?? size;
    }
  }
}

const externName = 'none';

function wordsOf(btf: Btf, id: number): Uint32Array {
  const bytes = btf.typeBytes(id);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Uint32Array.from({ length: bytes.length / 4 }, (_, i) => view.getUint32(i * 4, btf.littleEndian));
}

function isGlobal(btf: Btf, id: number): boolean {
  const type = btf.type(id);
  return (type.kind === 'VAR' || type.kind === 'FUNC') && type.linkage !== BTF_LINKAGE.STATIC;
}
