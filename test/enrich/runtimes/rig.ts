import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export type RigRuntime = 'docker' | 'containerd' | 'cri' | 'podman';

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
  readonly #folder: string;

  constructor(...runtimes: readonly RigRuntime[]) {
    this.#folder = path.join(this.dir, 'rig');
    const { runtimes: started } = JSON.parse(this.run('start', ...runtimes)) as { runtimes: Readonly<Record<string, { socket: string }>> };
    const socket = (name: RigRuntime): string => started[name]?.socket ?? '';
    this.sockets = { docker: socket('docker'), containerd: socket('containerd'), cri: socket('cri'), podman: socket('podman') };
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

  pod(name: string, ...args: readonly string[]): RigPod {
    return JSON.parse(this.run('pod', name, ...args)) as RigPod;
  }

  /** Process ids of the daemons by name. */
  daemons(): ReadonlyMap<string, number> {
    const { daemons } = JSON.parse(this.run('status')) as { daemons: readonly { name: string; pid: number }[] };
    return new Map(daemons.map(({ name, pid }) => [name, pid]));
  }

  stop(): void {
    this.run('stop');
    rmSync(this.dir, { recursive: true, force: true });
  }
}
