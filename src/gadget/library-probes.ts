import { FunctionOffsets } from '../bpf/link/function-offsets.ts';
import { findLibraries, librariesOfProcess } from '../bpf/link/library.ts';
import type { BpfLink } from '../bpf/link/link.ts';
import { isReturnSection } from '../bpf/link/kprobe.ts';
import { attachUprobeAt } from '../bpf/link/uprobe.ts';
import type { BpfProgram } from '../bpf/program/program.ts';
import { UsageError } from '../error.ts';
import { printable } from '../bytes/printable.ts';

/** The parts of `libssl:SSL_read`; null for a target that names a file or an offset. */
export function libraryTarget(target: string): { readonly library: string; readonly name: string } | null {
  const match = /^(lib[^/:]+):([A-Za-z_]\w*)$/.exec(target);
  if (match === null) return null;
  const [, library = '', name = ''] = match;
  return { library, name };
}

/**
 * Attaches uprobes of a gadget whose targets are functions of libraries (`libssl:SSL_read`) to every library of that name. What
 * is not there is told once, and an error only where nothing is: a gadget may know more libraries than a machine has.
 */
export class LibraryProbes {
  readonly #pid: number | null;
  readonly #offsets = new FunctionOffsets();
  readonly #paths = new Map<string, readonly string[]>();
  /** Functions that no file has, by library. */
  readonly #missing = new Map<string, string[]>();
  #attached = 0;
  #knowsProgram = true;

  /** `pid`: the process whose libraries are meant, those of the machine's programs where null. */
  constructor(pid: number | null) {
    this.#pid = pid;
  }

  /** Attaches a program to a function of each library; none where no library, or none of them, has it. */
  attach(program: BpfProgram, library: string, name: string): readonly BpfLink[] {
    const links: BpfLink[] = [];
    try {
      const ret = isReturnSection(program, 'uretprobe');
      const attach = (path: string, offset: number | null): void => {
        if (offset !== null) links.push(attachUprobeAt(program, { kind: 'uprobe', target: `${path}:${name}` }, { path, offset, ret }));
      };
      const paths = this.#librariesOf(library);
      for (const path of paths) attach(path, this.#offsets.find(path, name));
      // A function that the program itself shows is what everybody in the process calls: Node's own OpenSSL, not the machine's.
      const own = `/proc/${this.#pid}/exe`;
      if (this.#pid !== null && !paths.includes(own)) attach(own, this.#exportedBy(own, name));
    } catch (error) {
      for (const link of links) link.close();
      throw error;
    }
    if (links.length === 0) {
      const missing = this.#missing.get(library) ?? [];
      this.#missing.set(library, missing);
      if (!missing.includes(name)) missing.push(name);
    }
    this.#attached += links.length;
    return links;
  }

  /** Tells what was not found. Throws UsageError `E_LIBRARY` where nothing was. */
  check(skipUnsupported: boolean, notice: (message: string) => void): void {
    if (this.#missing.size === 0) return;
    const told = [...this.#missing].map(([library, names]) => {
      const isThere = (this.#paths.get(library) ?? []).length > 0;
      return isThere ? `${library} has no function ${names.join(', ')}` : `there is no library ${library}`;
    });
    if (this.#attached === 0 && !skipUnsupported) {
      throw new UsageError({
        code: 'E_LIBRARY',
        what: 'none of the libraries that the gadget watches is here',
        why: printable(told.join('; ')),
        ...(this.#pid === null ? { next: '--pid looks into a process, and into its container' } : { where: { pid: this.#pid } }),
      });
    }
    for (const message of told) notice(`${message}: not watched`);
  }

  #exportedBy(path: string, name: string): number | null {
    if (!this.#knowsProgram) return null;
    try {
      return this.#offsets.findExported(path, name);
    } catch {
      // It is gone, or not understood: the libraries are watched all the same.
      this.#knowsProgram = false;
      return null;
    }
  }

  #librariesOf(library: string): readonly string[] {
    let paths = this.#paths.get(library);
    if (paths === undefined) {
      paths = this.#pid === null ? findLibraries(library) : librariesOfProcess(library, this.#pid);
      this.#paths.set(library, paths);
    }
    return paths;
  }
}
