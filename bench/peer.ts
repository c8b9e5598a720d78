import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { openSync, closeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What one drain found and how long it took. */
export interface Drained {
  readonly records: number;
  readonly sum: number;
  readonly ns: number;
  /** Bytes of JSON written; 0 where none is. */
  readonly bytes: number;
}

/** The programs to compare with; null where one cannot be built here. */
export interface PeerPrograms {
  readonly libbpf: string | null;
  readonly cilium: string | null;
}

export type PeerName = keyof PeerPrograms;

const peers = fileURLToPath(new URL('../../bench/peers', import.meta.url));

function built(what: string, command: string, args: readonly string[], env: Readonly<Record<string, string>>): boolean {
  const run = spawnSync(command, args, { encoding: 'utf8', env: { ...process.env, ...env } });
  if (run.status === 0) return true;
  console.error(`${what} is left out: ${run.stderr || run.error?.message}`);
  return false;
}

/** Compiles the peers into a folder: libbpf with gcc, cilium/ebpf with Go where Debian's packages are installed. */
export function buildPeers(folder: string): PeerPrograms {
  const flags = (process.env['LIBBPF_FLAGS'] ?? '-lbpf').split(' ');
  const libbpf = join(folder, 'libbpf');
  const cilium = join(folder, 'cilium');
  return {
    libbpf: built('libbpf', 'gcc', ['-O2', '-o', libbpf, join(peers, 'libbpf.c'), ...flags], {}) ? libbpf : null,
    cilium: built('cilium/ebpf', 'go', ['build', '-o', cilium, join(peers, 'cilium/main.go')], {
      GO111MODULE: 'off',
      GOPATH: '/usr/share/gocode',
      GOCACHE: join(folder, 'cache'),
    })
      ? cilium
      : null,
  };
}

/** A program that has the buffer's map at descriptor 3 and writes JSON to descriptor 4, and answers in lines. */
export class Peer {
  readonly #run: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(run: ChildProcess) {
    this.#run = run;
    // A benchmark that fails leaves nothing running.
    process.once('exit', () => this.#end());
    if (run.stdout === null) throw new Error('no stdout');
    this.#lines = createInterface(run.stdout)[Symbol.asyncIterator]();
  }

  /** Starts one, pinned to a CPU where that is asked for, and waits until it is ready. `out` is where its JSON goes: /dev/null unless said. */
  static async start(
    program: string,
    args: readonly string[],
    mapFd: number,
    options: { readonly out?: number; readonly cpu?: number } = {},
  ): Promise<Peer> {
    const out = options.out ?? openSync('/dev/null', 'w');
    const pin = options.cpu === undefined ? [] : ['-c', String(options.cpu), program];
    const peer = new Peer(
      spawn(pin.length === 0 ? program : 'taskset', [...pin, ...args], { stdio: ['pipe', 'pipe', 'inherit', mapFd, out] }),
    );
    if (options.out === undefined) closeSync(out);
    await peer.line();
    return peer;
  }

  /** Starts one whose JSON goes through a pipe to another program, which throws it away. */
  static async piped(command: readonly string[], mapFd: number): Promise<Peer> {
    const script = 'exec 5>&1; "$@" 4>&1 >&5 5>&- | cat >/dev/null';
    const peer = new Peer(spawn('sh', ['-c', script, 'sh', ...command], { stdio: ['pipe', 'pipe', 'inherit', mapFd], detached: true }));
    await peer.line();
    return peer;
  }

  /** The next line it says, as numbers. */
  async line(): Promise<readonly number[]> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error(`${this.#run.spawnfile} has ended`);
    return value.split(' ').map(Number);
  }

  async drain(count: number): Promise<Drained> {
    this.#run.stdin?.write(`${count}\n`);
    const [records = 0, sum = 0, ns = 0, bytes = 0] = await this.line();
    return { records, sum, ns, bytes };
  }

  #end(): void {
    const { pid, exitCode, signalCode, spawnfile } = this.#run;
    if (pid === undefined || exitCode !== null || signalCode !== null) return;
    // The shell of a pipe has a group of its own, with all that it runs.
    process.kill(spawnfile === 'sh' ? -pid : pid);
  }

  /** Ends it and waits until it is gone. */
  async close(): Promise<void> {
    if (this.#run.exitCode !== null) return;
    const gone = new Promise((resolve) => this.#run.once('exit', resolve));
    this.#run.stdin?.end();
    this.#end();
    await gone;
  }
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? Number.NaN)
    : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
}
