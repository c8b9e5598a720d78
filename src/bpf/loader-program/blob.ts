import { toCString } from '../../bytes/text.ts';
import type { StructLayout, StructValues } from '../../bytes/struct.ts';

/** The memory that a loader program works on: attributes, names, contents, instructions, one after another at multiples of 8. */
export class Blob {
  readonly #parts: { readonly at: number; readonly bytes: Uint8Array }[] = [];
  readonly #strings = new Map<string, number>();
  #size = 0;

  /** Puts bytes in, and says where they are. */
  add(bytes: Uint8Array): number {
    const at = this.#size;
    this.#parts.push({ at, bytes });
    this.#size += Math.ceil(bytes.length / 8) * 8;
    return at;
  }

  zeros(length: number): number {
    return this.add(new Uint8Array(length));
  }

  /** A NUL-terminated text, once however often it is asked for. */
  text(text: string): number {
    let at = this.#strings.get(text);
    if (at === undefined) this.#strings.set(text, (at = this.add(toCString(text))));
    return at;
  }

  /** An attribute of bpf(2); gives its place and the places of its fields. */
  attr(layout: StructLayout, values: StructValues): BlobAttr {
    const at = this.add(layout.encode(values));
    return { at, size: layout.size, field: (name) => at + layout.field(name).offset };
  }

  encode(): Uint8Array {
    const bytes = new Uint8Array(this.#size);
    for (const { at, bytes: part } of this.#parts) bytes.set(part, at);
    return bytes;
  }
}

/** An attribute within a blob. */
export interface BlobAttr {
  readonly at: number;
  readonly size: number;
  field(name: string): number;
}
