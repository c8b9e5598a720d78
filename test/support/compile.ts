import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The project's folder. */
export const root: string = fileURLToPath(new URL('../../../', import.meta.url));

/** How a C source is compiled for BPF. */
export interface CompileOptions {
  /** `clang-19` unless given. */
  readonly clang?: string;
  /** The machine whose vmlinux.h and registers are used; the one that the tests run on unless given. */
  readonly arch?: 'amd64' | 'arm64';
  readonly flags?: readonly string[];
}

/** What came of it: the object, and what clang said. */
export interface Compiled {
  readonly object: Uint8Array | null;
  readonly stderr: string;
}

/**
 * A folder of what was compiled before, kept under what went in: an emulated guest takes minutes for what its host has done in
 * a second. scripts/test-vm.mjs fills it, and empties it when include/ has changed.
 */
const before = process.env['RAWBPF_TEST_COMPILED'];
/** The machine that is compiled for where a test does not say. */
const ownArch = (process.env['RAWBPF_TEST_ARCH'] ?? process.arch) === 'arm64' ? 'arm64' : 'amd64';

/** Compiles C for BPF against include/, warnings being errors. */
export function compileBpf(source: string, options: CompileOptions = {}): Compiled {
  const compiler = new BpfCompiler(options);
  try {
    return compiler.compile(source, options.flags);
  } finally {
    compiler.close();
  }
}

/** Compiles many sources: vmlinux.h, which takes clang half a second, is read once. */
export class BpfCompiler {
  readonly #clang: string;
  readonly #flags: readonly string[];
  readonly #folder: string;
  #header: string | null = null;

  constructor(options: CompileOptions = {}) {
    const { clang = 'clang-19', arch = ownArch } = options;
    this.#clang = clang;
    this.#folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-compile-'));
    const target = `-D__TARGET_ARCH_${arch === 'amd64' ? 'x86' : 'arm64'}`;
    // Debian's <asm/types.h>, which <linux/*.h> include: clang looks there for the machine's own target alone.
    const system = ['-idirafter', `/usr/include/${ownArch === 'amd64' ? 'x86_64' : 'aarch64'}-linux-gnu`];
    const includes = [`-I${root}include/gadget/${arch}`, `-I${root}include`, ...system];
    this.#flags = ['-target', 'bpf', '-O2', '-g', '-Wall', '-Werror', target, ...includes];
  }

  /** Compiles a source. */
  compile(source: string, flags: readonly string[] = []): Compiled {
    return this.#kept(`compile ${flags.join(' ')}\n${source}`, () => this.#compile(source, flags));
  }

  #compile(source: string, flags: readonly string[]): Compiled {
    const input = path.join(this.#folder, 'program.bpf.c');
    const output = path.join(this.#folder, 'program.bpf.o');
    writeFileSync(input, source);
    const { status, stderr } = this.#run([...flags, '-c', input, '-o', output]);
    return { object: status === 0 ? new Uint8Array(readFileSync(output)) : null, stderr };
  }

  /** Checks a source that goes on after vmlinux.h; the object is empty. */
  check(source: string): Compiled {
    return this.#kept(`check\n${source}`, () => this.#check(source));
  }

  /** What was kept of the same task, else what is made now. */
  #kept(task: string, make: () => Compiled): Compiled {
    if (before === undefined) return make();
    const key = [this.#clang, ...this.#flags.map((flag) => flag.replaceAll(root, '')), task].join('\n');
    const file = path.join(before, createHash('sha256').update(key).digest('hex'));
    if (existsSync(file)) {
      const kept = JSON.parse(readFileSync(file, 'utf8')) as { object: string | null; stderr: string };
      return { object: kept.object === null ? null : new Uint8Array(Buffer.from(kept.object, 'base64')), stderr: kept.stderr };
    }
    const made = make();
    mkdirSync(before, { recursive: true });
    const object = made.object === null ? null : Buffer.from(made.object).toString('base64');
    writeFileSync(file, JSON.stringify({ object, stderr: made.stderr }));
    return made;
  }

  #check(source: string): Compiled {
    this.#header ??= this.#precompile();
    const input = path.join(this.#folder, 'check.bpf.c');
    writeFileSync(input, source);
    const { status, stderr } = this.#run(['-include-pch', this.#header, '-fsyntax-only', input]);
    return { object: status === 0 ? new Uint8Array(0) : null, stderr };
  }

  close(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #precompile(): string {
    const input = path.join(this.#folder, 'header.h');
    const output = path.join(this.#folder, 'header.pch');
    writeFileSync(input, '#include <vmlinux.h>\n');
    const { status, stderr } = this.#run(['-x', 'c-header', input, '-o', output]);
    if (status !== 0) throw new Error(stderr);
    return output;
  }

  #run(args: readonly string[]): { status: number | null; stderr: string } {
    const { status, stderr, error } = spawnSync(this.#clang, [...this.#flags, ...args], { encoding: 'utf8' });
    if (error !== undefined) throw error;
    return { status, stderr };
  }
}

/** Whether a compiler is installed. */
export function hasCompiler(clang: string): boolean {
  if (before !== undefined && existsSync(before)) return true;
  return spawnSync(clang, ['--version']).error === undefined;
}
