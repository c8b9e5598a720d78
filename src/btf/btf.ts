import { plainBytes } from '../bytes/plain.ts';
import { cString, toUtf8 } from '../bytes/text.ts';
import { FormatError } from '../error.ts';
import { decodeType } from './decode.ts';
import { parseHeader, type BtfHeader } from './header.ts';
import { NameIndex, nameSpaceOf, seekNames, type NameSpace } from './names.ts';
import { indexTypes, type TypeIndex } from './scan.ts';
import { BTF_KIND, type BtfKindName, type BtfType } from './types.ts';

/** Longest name of a type, member or enumerator; the kernel's own limit is 512 (KSYM_NAME_LEN). */
const maxName = 4096;
/** Slots of the direct-mapped cache of decoded types. */
const cacheSlots = 512;
/** Passes over the types that look for names without an index; whoever asks more often gets one. */
const maxPasses = 6;

/** How {@link Btf.parse} reads. */
export interface BtfOptions {
  /** The BTF this one is split over: vmlinux's for a module's. */
  readonly base?: Btf;
  /** A name for error messages: a path or a module's name. */
  readonly name?: string;
}

/**
 * A BTF blob with an index over it; type objects are made on demand and the blob is never copied.
 * Source: Documentation/bpf/btf.rst and include/uapi/linux/btf.h.
 *
 * @example
 * import { Btf, BtfBuilder } from 'rawbpf/btf';
 * const builder = new BtfBuilder();
 * builder.add({ kind: 'INT', name: 'int', size: 4, encoding: 1, bitOffset: 0, bits: 32 });
 * const btf = Btf.parse(builder.encode());
 * console.log(btf.findByName('int'), btf.type(1).kind); // 1 INT
 */
export class Btf {
  readonly bytes: Uint8Array;
  readonly littleEndian: boolean;
  /** The BTF this one is split over, null for a whole one. */
  readonly base: Btf | null;
  /** The name given for messages, '' where none was. */
  readonly name: string;
  readonly header: BtfHeader;
  /** First id of this BTF's own types: 1, or the base's typeCount. */
  readonly firstId: number;
  /** One more than the last id; ids count from 0 (void) and include the base's. */
  readonly typeCount: number;
  /** First offset of this BTF's own strings: 0, or the base's stringsEnd. */
  readonly firstString: number;
  /** One more than the last string offset. */
  readonly stringsEnd: number;
  /** All of `bytes`, for readers of raw types. */
  readonly view: DataView;
  /** Where each own type starts, in words from the first, and which have names. */
  readonly #types: TypeIndex;
  readonly #stringsAt: number;
  readonly #names = new Map<NameSpace, NameIndex>();
  /** What was found without an index, by name space and name; `~` before names past flavours. */
  readonly #sought = new Map<string, readonly number[]>();
  #passes = 0;
  #pointerSize: 0 | 4 | 8 = 0;
  readonly #cache: (BtfType | undefined)[] = [];

  private constructor(bytes: Uint8Array, options: BtfOptions) {
    this.bytes = bytes;
    this.base = options.base ?? null;
    this.name = options.name ?? '';
    this.header = parseHeader(bytes, this.name);
    this.littleEndian = this.header.littleEndian;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.firstId = this.base?.typeCount ?? 1;
    this.firstString = this.base?.stringsEnd ?? 0;
    this.stringsEnd = this.firstString + this.header.stringsLength;
    this.#stringsAt = this.header.stringsAt;
    this.#checkStrings();
    this.#types = indexTypes(this);
    this.typeCount = this.firstId + this.#types.starts.length;
  }

  /**
   * Indexes a raw BTF blob (the contents of a .BTF section or of a file in /sys/kernel/btf) of either byte order.
   * One pass checks header, sizes and kinds; ids and string offsets are checked when followed. Throws {@link FormatError} `E_BTF_*`.
   */
  static parse(bytes: Uint8Array, options: BtfOptions = {}): Btf {
    return new Btf(plainBytes(bytes), options);
  }

  /** 4 or 8: the size of the INT named `long` or `unsigned long` (in any spelling), the base's first; else 8. */
  get pointerSize(): 4 | 8 {
    if (this.#pointerSize === 0) this.#pointerSize = this.#guessPointerSize() ?? 8;
    return this.#pointerSize;
  }

  /** The type with this id; throws {@link FormatError} `E_BTF_TYPE_ID` where there is none. The object is shared: it is frozen. */
  type(id: number): BtfType {
    const cached = this.#cache[id % cacheSlots];
    if (cached !== undefined && cached.id === id) return cached;
    const type = id !== 0 && id < this.firstId && this.base !== null ? this.base.type(id) : decodeType(this, id);
    this.#cache[id % cacheSlots] = type;
    return type;
  }

  /** The kind number alone, without making an object. */
  kindOf(id: number): number {
    if (id === 0) return BTF_KIND.UNKN;
    if (id < this.firstId && this.base !== null) return this.base.kindOf(id);
    return (this.view.getUint32(this.offsetOf(id) + 4, this.littleEndian) >>> 24) & 0x7f;
  }

  /** The type's name, '' where anonymous. */
  nameOf(id: number): string {
    return this.nameAt(this.nameOffsetOf(id));
  }

  /** Offset of the type's name in the strings; 0 where anonymous. */
  nameOffsetOf(id: number): number {
    if (id === 0) return 0;
    if (id < this.firstId && this.base !== null) return this.base.nameOffsetOf(id);
    return this.view.getUint32(this.offsetOf(id), this.littleEndian);
  }

  /** The string at an offset of the string section (base's first, then ours); throws {@link FormatError} `E_BTF_STRING`. */
  string(offset: number): string {
    if (offset === 0) return '';
    return cString(this.stringBytes(offset));
  }

  /** The bytes of a string without its NUL, a view: for names that are not UTF-8. */
  stringBytes(offset: number): Uint8Array {
    if (offset < this.firstString && this.base !== null) return this.base.stringBytes(offset);
    if (!(offset >= this.firstString && offset < this.stringsEnd)) throw this.stringError(offset, `the strings end at ${this.stringsEnd}`);
    const at = this.#stringsAt + offset - this.firstString;
    // The section ends with a NUL, see #checkStrings.
    return this.bytes.subarray(at, this.bytes.indexOf(0, at));
  }

  /** The name at a string offset: as {@link string}, but no longer than any name may be. */
  nameAt(offset: number): string {
    if (offset === 0) return '';
    if (offset < this.firstString && this.base !== null) return this.base.nameAt(offset);
    if (!(offset >= this.firstString && offset < this.stringsEnd)) throw this.stringError(offset, `the strings end at ${this.stringsEnd}`);
    const { bytes } = this;
    const at = this.#stringsAt + offset - this.firstString;
    let text = '';
    for (let i = at; i - at <= maxName; i++) {
      const byte = bytes[i] as number;
      if (byte === 0) return text;
      if (byte >= 0x80) return this.#longName(offset);
      text += String.fromCharCode(byte);
    }
    throw this.stringError(offset, `a name is at most ${maxName} bytes`);
  }

  /** The first type of this name (and kind), own types before the base's; null where there is none. */
  findByName(name: string, kind?: BtfKindName): number | null {
    const own = kind === undefined ? this.findAll(name)[0] : this.#find(name, kind);
    return own ?? this.base?.findByName(name, kind) ?? null;
  }

  /** Every own type (not the base's) of this exact name, of any kind, ids ascending. */
  findAll(name: string): readonly number[] {
    if (name === '') return [];
    const ids = (['types', 'functions'] as const).flatMap(
      (space) => this.#seek(space, false, name) ?? this.#nameIndex(space).exact(toUtf8(name)),
    );
    return ids.toSorted((x, y) => x - y);
  }

  /**
   * Every own type whose name without a `___flavour` suffix is `name`, ids ascending: CO-RE candidates, which functions,
   * variables and sections never are. `others` are names that will be asked for as well: one pass finds all of them.
   */
  findByEssentialName(name: string, others: readonly string[] = []): readonly number[] {
    if (name === '') return [];
    return this.#seek('types', true, name, others) ?? this.#nameIndex('types').essential(toUtf8(name));
  }

  /** Offset in `bytes` of an own type (not the base's, not void). */
  offsetOf(id: number): number {
    const start = this.#types.starts[id - this.firstId];
    if (start === undefined) {
      const where = { ...this.where(), id };
      const why = `the last id is ${this.typeCount - 1}`;
      throw new FormatError({ code: 'E_BTF_TYPE_ID', what: 'there is no BTF type with this id', where, why });
    }
    return this.header.typesAt + start * 4;
  }

  /** An own type as it stands in the blob: its head of 12 bytes and what follows. A view. */
  typeBytes(id: number): Uint8Array {
    const end = id + 1 < this.typeCount ? this.offsetOf(id + 1) : this.header.typesAt + this.header.typesLength;
    return this.bytes.subarray(this.offsetOf(id), end);
  }

  /** The place of this BTF for error messages. */
  where(): { btf?: string } {
    return this.name === '' ? {} : { btf: this.name };
  }

  stringError(offset: number, why: string): FormatError {
    return new FormatError({ code: 'E_BTF_STRING', what: 'bad BTF string', where: { ...this.where(), string: offset }, why });
  }

  #longName(offset: number): string {
    const bytes = this.stringBytes(offset);
    if (bytes.length > maxName) throw this.stringError(offset, `a name is at most ${maxName} bytes`);
    return cString(bytes);
  }

  #find(name: string, kind: BtfKindName): number | undefined {
    if (name === '') return undefined;
    const wanted = BTF_KIND[kind];
    const space = nameSpaceOf(wanted);
    const ids = this.#seek(space, false, name) ?? this.#nameIndex(space).exact(toUtf8(name));
    return ids.find((id) => this.kindOf(id) === wanted);
  }

  /** Ids of a name without making an index; null where there is one, or it is time for one. */
  #seek(space: NameSpace, essential: boolean, name: string, others: readonly string[] = []): readonly number[] | null {
    if (this.#names.has(space)) return null;
    const prefix = `${space} ${essential ? '~' : ''}`;
    const known = this.#sought.get(prefix + name);
    if (known !== undefined) return known;
    if (this.#passes === maxPasses) return null;
    const found = seekNames(this, this.#types, { space, essential, names: [name, ...others] });
    if (found === null || !found.has(name)) return null;
    this.#passes++;
    for (const [each, ids] of found) this.#sought.set(prefix + each, ids);
    return found.get(name) ?? null;
  }

  #nameIndex(space: NameSpace): NameIndex {
    let index = this.#names.get(space);
    if (index === undefined) this.#names.set(space, (index = new NameIndex(this, this.#types, space)));
    return index;
  }

  #checkStrings(): void {
    const { stringsAt, stringsLength } = this.header;
    if (stringsLength === 0) {
      if (this.base !== null) return;
      throw this.stringError(0, 'there is no string section');
    }
    if (this.bytes[stringsAt + stringsLength - 1] !== 0)
      throw this.stringError(stringsLength - 1, 'the string section does not end with a NUL');
    if (this.base === null && this.bytes[stringsAt] !== 0) {
      throw this.stringError(0, 'the first string is not empty: this is split BTF, which needs its base');
    }
  }

  #guessPointerSize(): 4 | 8 | null {
    if (this.base !== null) return this.base.pointerSize;
    for (let id = this.firstId; id < this.typeCount; id++) {
      if (this.kindOf(id) !== BTF_KIND.INT) continue;
      const size = this.view.getUint32(this.offsetOf(id) + 8, this.littleEndian);
      if ((size === 4 || size === 8) && isLong(this.nameOf(id))) return size;
    }
    return null;
  }
}

/** `long`, with `unsigned` and `int` in any order as compilers spell it. */
function isLong(name: string): boolean {
  const words = name.split(' ');
  if (!words.includes('long')) return false;
  return words.length === new Set(words).size && words.every((word) => word === 'long' || word === 'int' || word === 'unsigned');
}
