import { closeSync, openSync, readSync } from 'node:fs';
import { UnsupportedError } from '../../error.ts';

const newline = 0x0a;
const space = 0x20;

/** One line of /proc/kallsyms. */
export interface KernelSymbol {
  readonly address: bigint;
  /** As nm prints it: `t`, `T`, `d`... */
  readonly type: string;
  readonly name: string;
  /** The module, null for the kernel itself. */
  readonly module: string | null;
}

/** The text of /proc/kallsyms (5 MB on a small kernel), kept as bytes and searched without being split into lines. */
export class Kallsyms {
  readonly #text: Buffer;

  constructor(text: Buffer) {
    this.#text = text;
  }

  /**
   * The address of a symbol, null where there is none. Data symbols also match without the `.llvm.HASH` that ThinLTO
   * adds. Throws E_KSYM_AMBIGUOUS where the name has two addresses.
   */
  address(name: string): bigint | null {
    let found: bigint | null = null;
    for (const symbol of this.find(name)) {
      if (found !== null && found !== symbol.address) {
        throw new UnsupportedError({
          code: 'E_KSYM_AMBIGUOUS',
          what: 'the kernel has several symbols of this name',
          where: { symbol: name },
          why: `0x${found.toString(16)} and 0x${symbol.address.toString(16)} are both called ${name}`,
        });
      }
      found = symbol.address;
    }
    return found;
  }

  /** Every symbol of this name. */
  *find(name: string): Generator<KernelSymbol> {
    if (name === '' || /\s/.test(name)) return;
    const wanted = Buffer.from(` ${name}`);
    for (let at = this.#text.indexOf(wanted); at >= 0; at = this.#text.indexOf(wanted, at + 1)) {
      const symbol = this.#lineAt(at);
      if (symbol === null) continue;
      if (symbol.name === name || (symbol.type.toLowerCase() === 'd' && symbol.name.startsWith(`${name}.llvm.`))) yield symbol;
    }
  }

  /** Names that begin with the same three letters, for suggestions: a kernel has 200,000. */
  *namesLike(name: string): Generator<string> {
    const start = name.slice(0, 3);
    if (start === '' || /\s/.test(start)) return;
    const wanted = Buffer.from(` ${start}`);
    for (let at = this.#text.indexOf(wanted); at >= 0; at = this.#text.indexOf(wanted, at + 1)) {
      const symbol = this.#lineAt(at);
      if (symbol?.name.startsWith(start) === true) yield symbol.name;
    }
  }

  /** Every symbol, in the file's order. */
  [Symbol.iterator](): Generator<KernelSymbol> {
    return this.all(() => true);
  }

  /** Every symbol whose name is wanted, in the file's order. */
  *all(wanted: (name: string) => boolean): Generator<KernelSymbol> {
    for (let at = 0; at < this.#text.length;) {
      const newlineAt = this.#text.indexOf(newline, at);
      const end = newlineAt < 0 ? this.#text.length : newlineAt;
      const symbol = this.#line(at, end, wanted);
      if (symbol !== null) yield symbol;
      at = end + 1;
    }
  }

  #lineAt(at: number): KernelSymbol | null {
    const start = at === 0 ? 0 : this.#text.lastIndexOf(newline, at - 1) + 1;
    const end = this.#text.indexOf(newline, at);
    return this.#line(start, end < 0 ? this.#text.length : end, () => true);
  }

  #line(start: number, end: number, wanted: (name: string) => boolean): KernelSymbol | null {
    const text = this.#text;
    const afterAddress = text.indexOf(space, start);
    if (afterAddress <= start || afterAddress + 2 >= end || text[afterAddress + 2] !== space) return null;
    const rest = text.toString('latin1', afterAddress + 3, end);
    const moduleAt = rest.indexOf('\t');
    const name = moduleAt < 0 ? rest : rest.slice(0, moduleAt);
    if (!wanted(name)) return null;
    return {
      address: BigInt(`0x${text.toString('latin1', start, afterAddress)}`),
      type: text.toString('latin1', afterAddress + 1, afterAddress + 2),
      name,
      // A module's name is in brackets.
      module: moduleAt < 0 ? null : rest.slice(moduleAt + 2, -1),
    };
  }
}

/** Reads /proc/kallsyms in pieces: the kernel formats it line by line and gives no size. Throws E_KALLSYMS where it cannot be read. */
export function readKallsyms(path = '/proc/kallsyms'): Kallsyms {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (cause) {
    throw new UnsupportedError({
      code: 'E_KALLSYMS',
      what: "the kernel's symbols cannot be read",
      where: { path },
      why: cause instanceof Error ? cause.message : '',
      next: 'mount /proc, and use a kernel with CONFIG_KALLSYMS',
      cause,
    });
  }
  try {
    let text = Buffer.allocUnsafe(8 << 20);
    let length = 0;
    for (;;) {
      if (length === text.length) text = Buffer.concat([text], text.length * 2);
      const count = readSync(fd, text, length, text.length - length, null);
      if (count === 0) return new Kallsyms(Buffer.from(text.subarray(0, length)));
      length += count;
    }
  } finally {
    closeSync(fd);
  }
}
