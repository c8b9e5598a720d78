import { Kallsyms, type KernelSymbol, readKallsyms } from './kallsyms.ts';

const newline = 0x0a;

/**
 * Names of kernel addresses: the functions of /proc/kallsyms in the order of their addresses, kept as offsets into their names
 * alone (about 3 MB for 100,000 functions).
 */
export class KernelFunctions {
  /** Ascending. */
  readonly #addresses: BigUint64Array;
  /** Where each address's name starts in `#names`, which ends it by a line feed. */
  readonly #starts: Uint32Array;
  readonly #names: Buffer;

  constructor(symbols: Iterable<KernelSymbol>) {
    const addresses: bigint[] = [];
    const names: string[] = [];
    let bytes = 0;
    for (const { address, type, name } of symbols) {
      if (address === 0n || !isCode(type)) continue;
      addresses.push(address);
      names.push(name);
      bytes += name.length + 1;
    }
    // Names of one address stay in the order of the file.
    const order = Uint32Array.from(addresses.keys()).toSorted((a, b) => compare(addresses[a] as bigint, addresses[b] as bigint) || a - b);
    this.#addresses = new BigUint64Array(order.length);
    this.#starts = new Uint32Array(order.length);
    this.#names = Buffer.allocUnsafe(bytes);
    let used = 0;
    for (const [to, from] of order.entries()) {
      this.#addresses[to] = addresses[from] as bigint;
      this.#starts[to] = used;
      used += this.#names.write(names[from] as string, used, 'latin1');
      this.#names[used++] = newline;
    }
  }

  /** Those of the running kernel; none where addresses are hidden (kernel.kptr_restrict) or the file cannot be read. */
  static read(path?: string): KernelFunctions {
    let symbols: Kallsyms;
    try {
      symbols = readKallsyms(path);
    } catch {
      return new KernelFunctions([]);
    }
    return new KernelFunctions(symbols);
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
    return this.#names.toString('latin1', start, this.#names.indexOf(newline, start));
  }
}

/** nm's letters of functions: text, and weak symbols. */
function isCode(type: string): boolean {
  return type === 't' || type === 'T' || type === 'w' || type === 'W';
}

function compare(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
