import { toUtf8 } from '../bytes/text.ts';
import { UsageError } from '../error.ts';
import type { Btf } from './btf.ts';

/**
 * Collects the strings of a new BTF, each once: those of the base are used where they are. Keys are the bytes, one
 * character each, since names copied from a file need not be UTF-8.
 */
export class StringPool {
  readonly #base: Btf | null;
  #baseOffsets: Map<string, number> | null = null;
  readonly #offsets = new Map<string, number>();
  readonly #strings: Uint8Array[] = [];
  readonly #start: number;
  #end: number;

  constructor(base: Btf | null) {
    this.#base = base;
    this.#start = base?.stringsEnd ?? 0;
    this.#end = this.#start;
    if (base === null) this.#append('', new Uint8Array(0));
  }

  /** The offset of a string, which is added where it is new. */
  add(text: string): number {
    return this.addBytes(toUtf8(text));
  }

  addBytes(bytes: Uint8Array): number {
    if (bytes.length === 0) return 0;
    const key = byteKey(bytes);
    const known = this.#offsets.get(key) ?? this.#inBase(key);
    if (known !== undefined) return known;
    if (bytes.includes(0)) throw new UsageError({ code: 'E_BTF_BUILD', what: 'a BTF name has no NUL in it', where: { name: key } });
    return this.#append(key, bytes);
  }

  encode(): Uint8Array {
    const section = new Uint8Array(this.#end - this.#start);
    let at = 0;
    for (const bytes of this.#strings) {
      section.set(bytes, at);
      at += bytes.length + 1;
    }
    return section;
  }

  #append(key: string, bytes: Uint8Array): number {
    const offset = this.#end;
    this.#offsets.set(key, offset);
    this.#strings.push(bytes);
    this.#end += bytes.length + 1;
    return offset;
  }

  #inBase(key: string): number | undefined {
    if (this.#base === null) return undefined;
    return (this.#baseOffsets ??= offsetsOf(this.#base)).get(key);
  }
}

function offsetsOf(btf: Btf): Map<string, number> {
  const offsets = btf.base === null ? new Map<string, number>() : offsetsOf(btf.base);
  for (let offset = btf.firstString; offset < btf.stringsEnd;) {
    const bytes = btf.stringBytes(offset);
    const key = byteKey(bytes);
    if (!offsets.has(key)) offsets.set(key, offset);
    offset += bytes.length + 1;
  }
  return offsets;
}

function byteKey(bytes: Uint8Array): string {
  let key = '';
  for (let i = 0; i < bytes.length; i++) key += String.fromCharCode(bytes[i] as number);
  return key;
}
