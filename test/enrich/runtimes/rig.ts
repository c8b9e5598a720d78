import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export type RigRuntime = 'docker' | 'containerd' | 'cri' | 'podman';
/** Those without a daemon: `exec` of them is NAME COMMAND..., in the foreground. */
export type BareRuntime = 'runc' | 'crun' | 'lxc' | 'systemd-nspawn';

/** A pod that the rig made. */
export interface RigPod {
  readonly sandbox: string;
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly containers: Readonly<Record<string, string>>;
}

const script = fileURLToPath(new URL('../../../../scripts/containers/rig.mjs', import.meta.url));

/** Real runtimes on sockets of their own (scripts/containers); stop() takes everything away. */
export class Rig {
  readonly dir: string = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-rig-'));
  readonly sockets: Readonly<Record<RigRuntime, string>>;
  /** What the runtimes' own programs need. */
  readonly env: NodeJS.ProcessEnv;
  /** How each runtime's own program is called, and what its containers are made of. */
  readonly runtimes: Readonly<Record<string, { readonly socket?: string; readonly cli: readonly string[]; readonly image: string }>>;
  readonly #folder: string;
  readonly #bare: ChildProcess[] = [];
  #stopped = false;

  constructor(...runtimes: readonly (RigRuntime | BareRuntime)[]) {
    this.#folder = path.join(this.dir, 'rig');
    const { runtimes: started, env } = this.#start(runtimes);
    this.runtimes = started;
    this.env = { ...process.env, ...env };
    const socket = (name: RigRuntime): string => started[name]?.socket ?? '';
    this.sockets = { docker: socket('docker'), containerd: socket('containerd'), cri: socket('cri'), podman: socket('podman') };
  }

  #start(runtimes: readonly string[]): Pick<Rig, 'runtimes' | 'env'> {
    try {
      return JSON.parse(this.run('start', ...runtimes)) as Pick<Rig, 'runtimes' | 'env'>;
    } catch (error) {
      // Some of its daemons may run.
      this.stop();
      throw error;
    }
  }

  /** Where the runtimes have all that is theirs. */
  get folder(): string {
    return this.#folder;
  }

  /** podman's --root and --runroot. */
  get podmanFolders(): { readonly graph: string; readonly run: string } {
    return { graph: path.join(this.#folder, 'podman/root'), run: path.join(this.#folder, 'podman/run') };
  }

  run(...args: readonly string[]): string {
    return execFileSync(process.execPath, [script, '--dir', this.#folder, ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 2],
    }).trim();
  }

  /** Runs a runtime's own client. */
  exec(runtime: RigRuntime, ...args: readonly string[]): string {
    return this.run('exec', runtime, ...args);
  }

  /** A container without a daemon, for as long as its command runs. */
  bare(runtime: BareRuntime, name: string, ...command: readonly string[]): ChildProcess {
    const child = spawn(process.execPath, [script, '--dir', this.#folder, 'exec', runtime, name, ...command], {
      stdio: ['ignore', 'ignore', 2],
    });
    this.#bare.push(child);
    return child;
  }

  /** Where {@link bare} has its state and configurations. */
  bareFolder(runtime: BareRuntime): string {
    return path.join(this.#folder, 'bare', runtime);
  }

  pod(name: string, ...args: readonly string[]): RigPod {
    return JSON.parse(this.run('pod', name, ...args)) as RigPod;
  }

  /** Process ids of the daemons by name. */
  daemons(): ReadonlyMap<string, number> {
    const { daemons } = JSON.parse(this.run('status')) as { daemons: readonly { name: string; pid: number }[] };
    return new Map(daemons.map(({ name, pid }) => [name, pid]));
  }

  /** Harmless when repeated. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    // No daemon ends them, and while they run whoever started them does not end.
    const bare = this.#bare.flatMap(({ pid, exitCode, signalCode }) => (exitCode === null && signalCode === null ? (pid ?? []) : []));
    // What runs in them first: runtimes tidy up behind it, lxc its cgroups.
    for (const pid of bare) endTree(pid, true);
    for (const end = performance.now() + 5000; performance.now() < end && bare.some((pid) => childrenOf(pid).length > 0);) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
    }
    for (const pid of bare) endTree(pid, false);
    this.run('stop');
    rmSync(this.dir, { recursive: true, force: true });
  }
}

function childrenOf(pid: number): readonly number[] {
  try {
    return readdirSync(`/proc/${pid}/task`)
      .flatMap((tid) => readFileSync(`/proc/${pid}/task/${tid}/children`, 'utf8').split(' '))
      .filter((child) => child !== '')
      .map(Number);
  } catch {
    // It ended meanwhile.
    return [];
  }
}

/** Kills a process and its descendants, the youngest first; or those alone that have no children. */
function endTree(pid: number, leaves: boolean): void {
  const children = childrenOf(pid);
  for (const child of children) endTree(child, leaves);
  if (leaves && children.length > 0) return;
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // Likewise.
  }
}
