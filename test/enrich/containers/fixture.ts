import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { ContainerCollection, type ContainerCollectionOptions } from '../../../src/enrich/containers/collection.ts';
import type { ContainerFilter } from '../../../src/enrich/containers/filter.ts';
import type { NameEvent, NameSource, RuntimeNames } from '../../../src/enrich/containers/names.ts';
import { ContainerPart, type ContainerScope } from '../../../src/enrich/containers/part.ts';
import { hostContext } from '../../../src/enrich/context.ts';
import { emptyNames } from '../../../src/enrich/runtimes/source.ts';
import type { ContainerFields } from '../../../src/gadget/context.ts';
import { openGadget } from '../../../src/gadget/gadget.ts';
import { GadgetRun } from '../../../src/gadget/run.ts';
import type { RunResult } from '../../../src/gadget/run-options.ts';
import type { EventObject } from '../../../src/gadget/tree.ts';

/** Unlike any other's on this machine. */
export const tag: string = `rawbpf-test-${process.pid}`;

/** An id as docker makes them. */
export const idOf = (text: string): string => createHash('sha256').update(`${tag} ${text}`).digest('hex');

/** Mount points of cgroup hierarchies. */
function mountOf(kind: 'v2' | 'v1'): string | null {
  const mounts = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '));
  const found = mounts.find(([, , type, options]) =>
    kind === 'v2' ? type === 'cgroup2' : type === 'cgroup' && /(?:^|,)(?:pids|freezer)/.test(options ?? ''),
  );
  return found?.[1] ?? null;
}

/** Cgroups of this test's, taken away at the end. */
export class TestCgroups {
  readonly root: string | null;

  constructor(kind: 'v2' | 'v1' = 'v2') {
    const mount = mountOf(kind);
    this.root = mount === null ? null : path.join(mount, tag);
    if (this.root !== null) mkdirSync(this.root, { recursive: true });
  }

  make(name: string): string {
    const folder = path.join(this.root ?? '', name);
    mkdirSync(folder, { recursive: true });
    return folder;
  }

  remove(name: string): void {
    remove(path.join(this.root ?? '', name));
  }

  close(): void {
    if (this.root !== null) remove(this.root);
  }
}

function remove(folder: string): void {
  try {
    for (const entry of readdirSync(folder, { withFileTypes: true })) if (entry.isDirectory()) remove(path.join(folder, entry.name));
    rmdirSync(folder);
  } catch {
    // Its last process is only just ending: what is left is empty.
  }
}

/** How a container is made by hand. */
export interface FakeContainer {
  /** The cgroup it goes into first; its own where absent. */
  readonly cgroup?: string;
  /** Several, in different hierarchies. */
  readonly cgroups?: readonly string[];
  readonly command: readonly string[];
  /** What is unshared; null for nothing. */
  readonly unshare?: readonly string[] | null;
  /** Another user than root makes it. */
  readonly uid?: number;
}

function argsOf({ cgroup, cgroups, command, unshare = ['-mpf', '--mount-proc'], uid }: FakeContainer): readonly [string, string[]] {
  const all = cgroups ?? (cgroup === undefined ? [] : [cgroup]);
  const enter = all.map((folder) => `echo $$ > ${folder}/cgroup.procs; `).join('');
  const user = uid === undefined ? [] : ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups'];
  return ['sh', ['-c', `${enter}exec "$@"`, 'sh', ...user, ...(unshare === null ? [] : ['unshare', ...unshare]), ...command]];
}

/** Runs a program in namespaces of its own; resolves when it has ended. */
export function runContainer(container: FakeContainer): Promise<number | null> {
  const child = spawn(...argsOf(container), { stdio: 'ignore' });
  return new Promise((resolve) => child.on('exit', resolve));
}

/** The same while this process does nothing else. */
export function runContainerSync(container: FakeContainer): number | null {
  return spawnSync(...argsOf(container), { stdio: 'ignore' }).status;
}

/** A container that goes on until it is killed. */
export function startContainer(container: FakeContainer): ReturnType<typeof spawn> {
  return spawn(...argsOf(container), { stdio: ['pipe', 'pipe', 'inherit'] });
}

/** A runtime that knows what it is told, and takes its time. */
export class FakeRuntime implements NameSource {
  readonly name: string = 'fake';
  present: boolean = true;
  readonly known: Map<string, RuntimeNames> = new Map();
  readonly delayMs: number;
  asked: number = 0;
  #listener: (event: NameEvent) => void = () => {};
  readonly #timers = new Set<NodeJS.Timeout>();

  constructor(delayMs = 0) {
    this.delayMs = delayMs;
  }

  add(id: string, names: Partial<RuntimeNames>): void {
    this.known.set(id, { ...emptyNames, containerId: id, runtimeName: 'docker', ...names });
  }

  async lookup({ id }: { readonly id: string }): Promise<RuntimeNames | null> {
    this.asked++;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => {
        this.#timers.delete(timer);
        resolve();
      }, this.delayMs);
      this.#timers.add(timer);
    });
    return this.known.get(id) ?? null;
  }

  list(): Promise<readonly RuntimeNames[]> {
    return Promise.resolve([]);
  }

  onEvent(listener: (event: NameEvent) => void): void {
    this.#listener = listener;
  }

  tell(event: NameEvent): void {
    this.#listener(event);
  }

  close(): void {
    this.present = false;
    // Whoever asked waits no longer, and neither does this process.
    for (const timer of this.#timers) clearTimeout(timer);
  }
}

/** A started program, as trace_exec tells it. */
export interface Exec {
  readonly args: readonly string[];
  readonly runtime: ContainerFields['runtime'];
  readonly k8s: ContainerFields['k8s'];
}

export interface Traced {
  readonly containers: ContainerCollection;
  readonly run: GadgetRun;
  readonly execs: Exec[];
  /** Stops, and gives the programs whose arguments have a word in them. */
  stop(word: string): Promise<Exec[]>;
  readonly result: () => RunResult | null;
}

const objectUrl = new URL('../../../../gadgets/trace_exec/program.bpf.o', import.meta.url);
const yamlUrl = new URL('../../../../gadgets/trace_exec/gadget.yaml', import.meta.url);

/** Traces programs that are started, joined with containers. */
export async function traceExec(
  options: ContainerCollectionOptions & { readonly filter?: ContainerFilter; readonly scope?: ContainerScope } = {},
): Promise<Traced> {
  const { parseMetadata } = await import('../../../src/gadget/metadata.ts');
  const kernel = new Kernel();
  const containers = ContainerCollection.open({ kernel, ...options });
  await containers.ready;
  const gadget = openGadget({
    object: readFileSync(objectUrl),
    metadata: parseMetadata(readFileSync(yamlUrl, 'utf8'), fileURLToPath(yamlUrl)),
    context: hostContext(kernel.sys, { vmlinuxBtf: () => kernel.vmlinuxBtf(), containers }),
  });
  const run = new GadgetRun(gadget, { kernel, parts: [new ContainerPart(containers, options)] });
  const execs: Exec[] = [];
  let result: RunResult | null = null;
  run.start({
    event(source, record) {
      const event: EventObject = source.decode(record);
      execs.push({
        args: (event['args'] as string).split(' '),
        runtime: event['runtime'] as unknown as Exec['runtime'],
        k8s: event['k8s'] as unknown as Exec['k8s'],
      });
    },
  });
  return {
    containers,
    run,
    execs,
    result: () => result,
    async stop(word) {
      run.stop();
      result = await run.done;
      containers.close();
      kernel.close();
      return execs.filter(({ args }) => args.includes(word));
    },
  };
}

export async function until(done: () => boolean, ms = 20_000): Promise<boolean> {
  for (const end = performance.now() + ms; !done();) {
    if (performance.now() > end) return false;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return true;
}
