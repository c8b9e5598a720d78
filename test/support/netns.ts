import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import path from 'node:path';
import { slowness } from './patience.ts';
import { namespaceOf } from './process.ts';

const folders = [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin', '/sbin', '/usr/bin', '/bin'];

/** Where a program is; null where it is not installed. */
export const toolPath = (name: string): string | null => folders.map((folder) => path.join(folder, name)).find(existsSync) ?? null;

const found = (name: string): string => {
  const file = path.isAbsolute(name) ? name : toolPath(name);
  if (file === null) throw new Error(`${name} is not installed`);
  return file;
};

/** Waits until something is so, up to a time that only a broken program takes. */
export async function until(what: string, holds: () => boolean, ms: number = 30_000 * slowness): Promise<void> {
  const end = Date.now() + ms;
  while (!holds()) {
    if (Date.now() > end) throw new Error(`still not so: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** What a program said, and how it ended. */
export interface Said {
  readonly pid: number;
  readonly text: string;
  readonly code: number | null;
}

/** A network namespace that lives as long as one process of its own, which ends with this process at the latest. */
export class Netns {
  readonly pid: number;
  readonly inode: number;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.pid = child.pid ?? 0;
    this.inode = namespaceOf('net', this.pid);
  }

  /** With its loopback device up. */
  static async make(): Promise<Netns> {
    const child = spawn(found('setpriv'), ['--pdeathsig', 'KILL', found('unshare'), '-n', 'cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
    const echoed = once(child.stdout, 'data');
    child.stdin.write('here\n');
    await Promise.race([echoed, once(child, 'close').then(() => Promise.reject(new Error('unshare ended')))]);
    const netns = new Netns(child);
    netns.ip('link', 'set', 'lo', 'up');
    return netns;
  }

  ip(...args: readonly string[]): void {
    const { status, stderr } = spawnSync(found('nsenter'), [...this.#enter, found('ip'), ...args], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`ip ${args.join(' ')}: ${stderr}`);
  }

  /** What ip(8) says of a device. */
  link(name: string): { readonly ifindex: number; readonly address: string } {
    const { stdout } = spawnSync(found('nsenter'), [...this.#enter, found('ip'), '-json', 'link', 'show', name], { encoding: 'utf8' });
    const [link] = JSON.parse(stdout) as { ifindex: number; address: string }[];
    if (link === undefined) throw new Error(`there is no device ${name}`);
    return link;
  }

  /** A veth pair between this namespace and another one, with an address at each end, both up: `10.1.2.1/24`, `fd00::1/64`. */
  join(other: Netns, name: string, mine: readonly string[], theirs: readonly string[], otherName = 'eth0'): void {
    this.ip('link', 'add', name, 'type', 'veth', 'peer', 'name', otherName, 'netns', String(other.pid));
    for (const [netns, device, addresses] of [
      [this, name, mine],
      [other, otherName, theirs],
    ] as const) {
      for (const address of addresses) netns.ip('addr', 'add', address, 'dev', device, ...(address.includes(':') ? ['nodad'] : []));
      netns.ip('link', 'set', device, 'up');
    }
  }

  /** A program in this namespace; it keeps the pid, and ends with this process at the latest. */
  spawn(tool: string, args: readonly string[]): ChildProcess {
    return spawn(found('setpriv'), ['--pdeathsig', 'KILL', found('nsenter'), ...this.#enter, found(tool), ...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
  }

  /** A Perl program run to its end. */
  async perl(script: string, ...args: readonly string[]): Promise<Said> {
    const child = this.spawn('perl', ['-e', `use strict; use Socket qw(:all); $| = 1; ${script}`, '--', ...args]);
    child.stdin?.end();
    let text = '';
    child.stdout?.on('data', (data: Buffer) => (text += data.toString('latin1')));
    const [code] = (await once(child, 'close')) as [number | null];
    return { pid: child.pid ?? 0, text, code };
  }

  /** Rows of a table of /proc/net without its head. */
  table(name: string): readonly (readonly string[])[] {
    return tableOf(this.pid, name);
  }

  /** Whether a process has a packet socket that runs here. */
  isWatchedBy(pid: number): boolean {
    return isWatched(this.pid, pid);
  }

  /** Ends the process that keeps the namespace, which ends with it. */
  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'close');
    this.#child.kill('SIGKILL');
    await ended;
  }

  get #enter(): readonly string[] {
    return ['-t', String(this.pid), '-n', '--'];
  }
}

/** Rows of a table of /proc/net, of a process's network namespace, without its head. */
export function tableOf(pid: number, name: string): readonly (readonly string[])[] {
  const rows = readFileSync(`/proc/${pid}/net/${name}`, 'utf8').trim().split('\n').slice(1);
  return rows.map((line) => line.trim().split(/\s+/));
}

/** Whether a process has a packet socket that runs (column 6 of /proc/net/packet) in the network namespace of another. */
export function isWatched(pid: number, watcher: number): boolean {
  const sockets = socketsOf(watcher);
  return tableOf(pid, 'packet').some((row) => row[5] === '1' && sockets.has(row[8] ?? ''));
}

/** Inode numbers of the sockets that a process holds. */
export function socketsOf(pid: number): ReadonlySet<string> {
  const sockets = new Set<string>();
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    try {
      const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1];
      if (inode !== undefined) sockets.add(inode);
    } catch {
      // Closed since.
    }
  }
  return sockets;
}
