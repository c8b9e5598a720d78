import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../../', import.meta.url));
export const rawbpfPath: string = fileURLToPath(new URL('../../src/cli/rawbpf.js', import.meta.url));

/** An event as `-o json` prints it; 64-bit numbers beyond 2^53 are not exact here. */
export interface JsonEvent {
  readonly [name: string]: unknown;
  readonly proc: {
    readonly comm: string;
    readonly pid: number;
    readonly tid: number;
    readonly mntns_id: number;
    readonly creds: { readonly uid: number; readonly gid: number };
    readonly parent: { readonly comm: string; readonly pid: number; readonly tid: number };
  };
}

/** What a run gave. */
export interface GadgetOutput {
  readonly events: readonly JsonEvent[];
  readonly stderr: string;
  readonly code: number | null;
  readonly received: number;
  readonly lost: number;
}

/** `rawbpf run` in a child process, with all its programs attached. */
export class RunningGadget {
  readonly #child: ChildProcess;
  readonly #stdout: Buffer[] = [];
  readonly #ended: Promise<[number | null]>;
  #stderr = '';

  private constructor(name: string, args: readonly string[], env: Readonly<Record<string, string>>) {
    this.#child = spawn(process.execPath, [rawbpfPath, 'run', name, '-v', '-o', 'json', ...args], {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#ended = once(this.#child, 'close') as Promise<[number | null]>;
    this.#child.stdout?.on('data', (data: Buffer) => this.#stdout.push(data));
    this.#child.stderr?.on('data', (data: Buffer) => (this.#stderr += data.toString()));
  }

  /** Starts a gadget; resolves when everything is attached. Throws what it said where it ends before. */
  static async start(name: string, args: readonly string[] = [], env: Readonly<Record<string, string>> = {}): Promise<RunningGadget> {
    const gadget = new RunningGadget(name, args, env);
    while (!/: attached$/m.test(gadget.#stderr)) {
      const woken = once(gadget.#child.stderr as NodeJS.EventEmitter, 'data');
      await Promise.race([woken, gadget.#ended]);
      if (gadget.#child.exitCode !== null) throw new Error(`${name} ended: ${gadget.#stderr}`);
    }
    return gadget;
  }

  /** The process that runs it: tests leave its own events out. */
  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Ends it as Ctrl-C does; gives all events. Harmless when repeated. */
  async stop(): Promise<GadgetOutput> {
    this.#child.kill('SIGINT');
    const [code] = await this.#ended;
    const lines = Buffer.concat(this.#stdout).toString().split('\n').filter(Boolean);
    const [, received, lost] = /: (\d+) received, (\d+) lost/.exec(this.#stderr) ?? [];
    return {
      events: lines.map((line) => JSON.parse(line) as JsonEvent),
      stderr: this.#stderr,
      code,
      received: Number(received ?? Number.NaN),
      lost: Number(lost ?? Number.NaN),
    };
  }
}

/** Runs a gadget while `work` makes things happen; gives the events, and what `work` gave. */
export async function traced<T>(
  name: string,
  args: readonly string[],
  work: () => Promise<T> | T,
): Promise<GadgetOutput & { readonly made: T }> {
  const gadget = await RunningGadget.start(name, args);
  try {
    const made = await work();
    return { ...(await gadget.stop()), made };
  } catch (error) {
    await gadget.stop();
    throw error;
  }
}
