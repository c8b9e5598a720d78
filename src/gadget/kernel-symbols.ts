import { closeSync, openSync, readSync } from 'node:fs';

const newline = 0x0a;
const chunkSize = 1 << 20;

/**
 * Names of kernel addresses, out of /proc/kallsyms. Functions only; read once, in pieces, and kept as offsets into the
 * names alone: about 3 MB for a kernel with 100,000 functions.
 */
export class KernelSymbols {
  /** Ascending. */
  readonly #addresses: BigUint64Array;
  /** Where each address's name starts in `#names`, which ends it by a line feed. */
  readonly #starts: Uint32Array;
  readonly #names: Buffer;

  private constructor(addresses: BigUint64Array, starts: Uint32Array, names: Buffer) {
    this.#addresses = addresses;
    this.#starts = starts;
    this.#names = names;
  }

  /** Reads the symbols; empty where addresses are hidden (kernel.kptr_restrict) or the file cannot be read. */
  static read(path = '/proc/kallsyms'): KernelSymbols {
    let fd: number;
    try {
      fd = openSync(path, 'r');
    } catch {
      return KernelSymbols.parse(Buffer.alloc(0));
    }
    try {
      const parts: Buffer[] = [];
      for (;;) {
        const part = Buffer.allocUnsafe(chunkSize);
        const count = readSync(fd, part, 0, chunkSize, null);
        if (count === 0) return KernelSymbols.parse(Buffer.concat(parts));
        parts.push(part.subarray(0, count));
      }
    } finally {
      closeSync(fd);
    }
  }

  /** Parses lines of `ADDRESS TYPE NAME` with or without a module. */
  static parse(text: Buffer): KernelSymbols {
    const found: { readonly address: bigint; readonly start: number; readonly end: number }[] = [];
    for (let at = 0; at < text.length;) {
      let end = text.indexOf(newline, at);
      if (end < 0) end = text.length;
      // `ffffffff81000000 T _text`: the type is a letter between spaces, t or w for code.
      const space = text.indexOf(0x20, at);
      if (space > at && space + 3 < end && isCode(text[space + 1] as number)) {
        const address = BigInt(`0x${text.toString('latin1', at, space)}`);
        if (address !== 0n) found.push({ address, start: space + 3, end });
      }
      at = end + 1;
    }
    found.sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : a.start - b.start));
    const names = Buffer.allocUnsafe(found.reduce((sum, { start, end }) => sum + end - start + 1, 0));
    const addresses = new BigUint64Array(found.length);
    const starts = new Uint32Array(found.length);
    let used = 0;
    for (const [i, { address, start, end }] of found.entries()) {
      addresses[i] = address;
      starts[i] = used;
      used += text.copy(names, used, start, end);
      names[used++] = newline;
    }
    return new KernelSymbols(addresses, starts, names);
  }

  get size(): number {
    return this.#addresses.length;
  }

  /** The function that an address lies in: the last that starts at or before it; null where none does. */
  nameOf(address: bigint): string | null {
    const addresses = this.#addresses;
    let low = 0;
    let high = addresses.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((addresses[middle] as bigint) <= address) low = middle + 1;
      else high = middle;
    }
    if (low === 0) return null;
    // Of several names for an address the first in the file.
    let index = low - 1;
    while (index > 0 && addresses[index - 1] === addresses[index]) index--;
    const start = this.#starts[index] as number;
    const line = this.#names.toString('latin1', start, this.#names.indexOf(newline, start));
    return line.replace(/\t.*$/, '');
  }
}

function isCode(type: number): boolean {
  const letter = type | 0x20;
  return letter === 0x74 || letter === 0x77;
}
