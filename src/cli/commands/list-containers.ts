import { Kernel } from '../../bpf/index.ts';
import { printable } from '../../bytes/printable.ts';
import { ContainerFilter, type Container, type ContainerChange, type ContainerCollection } from '../../enrich/containers/index.ts';
import { cut } from '../../output/terminal.ts';
import { clusterOf, clusterOptions, startCluster } from '../cluster.ts';
import { commonOptions, outputOption, type Command } from '../command.ts';
import { containerFilterOptions, containerPlaceOptions, openContainers, selectionOf } from '../container-options.ts';
import { jsonText } from '../json-text.ts';
import { parseOptions, usage, type OptionSpec } from '../options.ts';
import { watchParents } from '../parent.ts';
import { table } from '../table.ts';

const formats = ['columns', 'json'] as const;
const options: readonly OptionSpec[] = [
  outputOption(formats),
  { name: 'watch', short: 'w', help: 'go on with what changes, until Ctrl-C' },
  { name: 'timeout', short: 't', value: 'S', help: 'stop watching after S seconds' },
  ...containerFilterOptions,
  ...clusterOptions,
  ...containerPlaceOptions,
];

/** `rawbpf list-containers`: the containers of this machine, of every runtime. */
export const listContainersCommand: Command = {
  name: 'list-containers',
  summary: 'list the containers of this machine, of every runtime; --watch follows them',
  usage: 'list-containers [--watch] [-o columns|json] [flags]',
  description:
    'Lists what runs in containers, whether or not a runtime answers: without one there are id, runtime, process and start.\n' +
    'With json: one object a line, {runtime, k8s} as events have them, with labels, namespaces and cgroups. With --watch each has\n' +
    'change: added, named (a runtime told more) or removed.',
  options,
  examples: [
    'rawbpf list-containers',
    'rawbpf list-containers --runtime docker,podman -o json',
    'rawbpf list-containers --watch --k8s-namespace shop',
  ],
  async run({ args, stdout, stderr }) {
    const { options: given } = parseOptions(args, [...options, ...commonOptions]);
    if (given.operands.length > 0) throw usage('list-containers takes no operand');
    const json = given.flag('json') || (given.choice('output', formats) ?? 'columns') === 'json';
    const seconds = given.seconds('timeout');
    const watch = given.flag('watch');
    if (seconds !== null && !watch) throw usage('--timeout goes with --watch');
    const filter = selectionOf(given) ?? new ContainerFilter({});
    const notice = (message: string): void => void stderr.write(`rawbpf: ${printable(message)}\n`);
    const cluster = await clusterOf(args, notice);
    const kernel = new Kernel({ onNotice: ({ message }) => notice(message) });
    let containers: ContainerCollection | null = null;
    try {
      if (cluster !== null) await startCluster(cluster, notice);
      containers = await openContainers(given, kernel, notice, cluster);
      const now = containers.list.filter((container) => filter.matches(container));
      if (!watch) {
        stdout.write(json ? now.map((container) => `${jsonText(shown(container))}\n`).join('') : listText(now));
        return 0;
      }
      const write = (change: ContainerChange): void => {
        const { type, container } = change;
        stdout.write(json ? `${jsonText({ change: type, ...shown(container) })}\n` : changeLine(type, container));
      };
      if (!json) stdout.write(head);
      for (const container of now) write({ type: 'added', container });
      await follow(containers, filter, now, write, kernel, seconds);
      return 0;
    } finally {
      containers?.close();
      cluster?.close();
      kernel.close();
    }
  },
};

/** Tells changes of wanted containers until a signal, or the time is over. */
async function follow(
  containers: ContainerCollection,
  filter: ContainerFilter,
  known: readonly Container[],
  write: (change: ContainerChange) => void,
  kernel: Kernel,
  seconds: number | null,
): Promise<void> {
  const teller = new Teller(filter, known, write);
  const off = containers.onChange((change) => teller.take(change));
  let stop: () => void = () => {};
  const ended = new Promise<void>((resolve) => (stop = resolve));
  const parents = process.env['RAWBPF_END_WITH_PARENT'] === undefined ? null : watchParents(kernel.sys, stop);
  // Events alone keep no process alive.
  const alive = setInterval(() => {}, 60_000);
  const timer = seconds === null ? undefined : setTimeout(stop, seconds * 1000);
  for (const signal of signals) process.on(signal, stop);
  try {
    await ended;
  } finally {
    off();
    parents?.close();
    clearInterval(alive);
    clearTimeout(timer);
    for (const signal of signals) process.off(signal, stop);
  }
}

/** Tells every wanted container's coming, what it is called, and its going, each once. A short one's name may come after its end. */
class Teller {
  readonly #filter: ContainerFilter;
  readonly #write: (change: ContainerChange) => void;
  /** What was told of those that are there. */
  readonly #told = new Map<number, string>();
  /** Likewise of the newest of those whose end was told. */
  readonly #ended = new Map<number, string>();

  constructor(filter: ContainerFilter, known: readonly Container[], write: (change: ContainerChange) => void) {
    this.#filter = filter;
    this.#write = write;
    for (const container of known) this.#told.set(container.serial, factsOf(container));
  }

  take({ type, container }: ContainerChange): void {
    const { serial } = container;
    const facts = factsOf(container);
    const before = this.#told.get(serial) ?? this.#ended.get(serial);
    if (type === 'removed') {
      if (this.#told.has(serial)) this.#end(container, facts);
      return;
    }
    if (facts === before || !this.#filter.matches(container)) return;
    this.#write({ type: before === undefined ? 'added' : 'named', container });
    if (this.#ended.has(serial)) this.#ended.set(serial, facts);
    else if (container.state === 'gone') this.#end(container, facts);
    else this.#told.set(serial, facts);
  }

  #end(container: Container, facts: string): void {
    this.#told.delete(container.serial);
    this.#ended.set(container.serial, facts);
    for (const oldest of this.#ended.keys()) {
      if (this.#ended.size <= 10_000) break;
      this.#ended.delete(oldest);
    }
    this.#write({ type: 'removed', container });
  }
}

/** What there is to tell of a container; its start is told exactly only in the end. */
function factsOf({ fields: { runtime, k8s } }: Container): string {
  return jsonText([{ ...runtime, containerStartedAt: '' }, k8s]);
}

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** As JSON tells a container. */
function shown(container: Container): object {
  const { fields, names, mntns, netns, pidns, hostNetwork, state, cgroups, inner } = container;
  return {
    runtime: fields.runtime,
    k8s: fields.k8s,
    // Names of labels are whatever somebody wrote.
    labels: Object.assign(Object.create(null), Object.fromEntries(names?.labels ?? [])),
    mntns,
    netns,
    pidns,
    hostNetwork,
    state,
    cgroups,
    inner,
  };
}

/** A pod's containers are called by namespace, pod and name. */
function nameOf({ fields: { runtime, k8s } }: Container): string {
  return k8s.podName === '' ? runtime.containerName : `${k8s.namespace}/${k8s.podName}/${k8s.containerName}`;
}

/** Ids of 64 digits are cut as runtimes cut them. */
function idOf({ id }: Container): string {
  return /^[0-9a-f]{64}$/.test(id) ? id.slice(0, 12) : id;
}

/** No runtime's own names are longer, but for a socket that makes them up; JSON has all of it. */
const shortened = (text: string): string => cut(text, 512, 'end');

function listText(containers: readonly Container[]): string {
  const rows = containers
    .toSorted((a, b) => a.sinceBootNs - b.sinceBootNs)
    .map((container) => [
      container.fields.runtime.runtimeName || null,
      idOf(container),
      container.pid,
      shortened(nameOf(container)) || null,
      shortened(container.fields.runtime.containerImageName) || null,
      container.startedAt.replace(/\.\d+/, '') || null,
    ]);
  return table(['RUNTIME', 'ID', 'PID', 'NAME', 'IMAGE', 'STARTED'], rows);
}

const widths = [8, 12, 14, 8, 32] as const;
const line = (...cells: readonly string[]): string =>
  cells
    .map((cell, i) => printable(shortened(cell) || '-').padEnd(widths[i] ?? 0))
    .join(' ')
    .trimEnd()
    .concat('\n');
const head = line('CHANGE', 'RUNTIME', 'ID', 'PID', 'NAME', 'IMAGE');

function changeLine(type: string, container: Container): string {
  const { runtime } = container.fields;
  return line(type, runtime.runtimeName, idOf(container), String(container.pid), nameOf(container), runtime.containerImageName);
}
