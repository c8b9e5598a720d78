import { SHF, SHT } from '../../../elf/constants.ts';
import { linkError } from './error.ts';
import type { InputSection } from './input.ts';

/** A page of the largest size there is; what BPF compilers ask for is 8. */
const maxAlign = 65536;
/** DATASEC sizes are 32 bits; maps and programs end long before. */
const maxSize = 2 ** 30;

/** Records of .BTF.ext for one section, as words. */
export interface OutputRecords {
  recordSize: number;
  readonly records: Uint32Array[];
}

/** A variable or function of a DATASEC. */
export interface OutputVariable {
  readonly typeId: number;
  offset: number;
  size: number;
}

/** A relocation of the output. */
export interface OutputRelocation {
  readonly offset: number;
  readonly type: number;
  readonly symbol: number;
}

/** A section of the output: the sections of its name of all inputs, one after another. */
export class OutputSection {
  readonly name: string;
  /** ELF section index; 0 for a shell that only BTF knows. */
  index = 0;
  type = 0;
  flags = 0n;
  align = 1;
  entsize = 0;
  size = 0;
  /** The section that these relocations are for. */
  relocates: OutputSection | null = null;
  /** Symbol index of its STT_SECTION symbol. */
  sectionSymbol = -1;
  hasBtf = false;
  readonly variables: OutputVariable[] = [];
  readonly relocations: OutputRelocation[] = [];
  readonly funcInfo: OutputRecords = { recordSize: 0, records: [] };
  readonly lineInfo: OutputRecords = { recordSize: 0, records: [] };
  readonly coreRelos: OutputRecords = { recordSize: 0, records: [] };
  readonly #parts: { readonly offset: number; readonly bytes: Uint8Array }[] = [];

  constructor(name: string) {
    this.name = name;
  }

  get isCode(): boolean {
    return this.type === SHT.PROGBITS && (this.flags & SHF.EXECINSTR) !== 0n;
  }

  /** Appends an input section's bytes, aligned; gives the bytes where they are now, to be patched. */
  append(section: InputSection, object: string): Uint8Array {
    const { elf } = section;
    if (elf === null) return new Uint8Array(0);
    const mismatch = (['type', 'flags', 'entsize'] as const).find((field) => this[field] !== elf[field]);
    if (mismatch !== undefined) {
      throw linkError(
        'E_STATIC_LINK_SECTION',
        { object, section: this.name, field: `sh_${mismatch}` },
        `it is ${elf[mismatch]}, other objects have ${this[mismatch]}`,
      );
    }
    const where = { object, section: this.name };
    if (elf.addralign > maxAlign)
      throw linkError('E_STATIC_LINK_SECTION', { ...where, field: 'sh_addralign' }, `${elf.addralign} is past any alignment`);
    this.align = Math.max(this.align, elf.addralign);
    section.offset = Math.ceil(this.size / this.align) * this.align;
    this.size = section.offset + elf.size;
    if (this.size > maxSize) throw linkError('E_STATIC_LINK_SECTION', where, `${this.size} bytes are past any section`);
    const bytes = elf.data.slice();
    this.#parts.push({ offset: section.offset, bytes });
    return bytes;
  }

  bytes(): Uint8Array {
    if (this.type === SHT.NOBITS) return new Uint8Array(0);
    const bytes = new Uint8Array(this.size);
    for (const part of this.#parts) bytes.set(part.bytes, part.offset);
    return bytes;
  }

  /** Whether an input section's bytes are what is here: what is asked of licenses. */
  holds(section: InputSection): boolean {
    const bytes = this.bytes();
    const other = section.elf?.data ?? new Uint8Array(0);
    return bytes.length === other.length && bytes.every((byte, i) => byte === other[i]);
  }
}
