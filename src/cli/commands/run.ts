import { misfitsText } from '../../gadget/misfits.ts';
import { missedRunsText } from '../../gadget/missed-runs.ts';
import { setTimeout as pause } from 'node:timers/promises';
// By their own paths: what this command does not need is not loaded, and it is most of the time until a gadget is attached.
import { Kernel } from '../../bpf/kernel/kernel.ts';
import { deviceName } from '../../bpf/link/device.ts';
import { sweepUnlinked } from '../../bpf/link/unlinked/list.ts';
import { openObject } from '../../bpf/object/open.ts';
import type { ObjectSpec } from '../../bpf/object/spec.ts';
import { hostContext, noContainers } from '../../enrich/context.ts';
import { type Cluster, EndpointPart } from '../../enrich/kubernetes/index.ts';
import { machineParts } from '../../enrich/machine-parts.ts';
import { foreignPidsNotice, pidsAreHosts } from '../../enrich/pidns.ts';
import { UserNames } from '../../enrich/users.ts';
import type { EventContext } from '../../gadget/context.ts';
import { openGadget, type Gadget } from '../../gadget/gadget.ts';
import { noMetadata, parseMetadata, type GadgetMetadata } from '../../gadget/metadata.ts';
import { describeParam } from '../../gadget/params.ts';
import { GadgetRun } from '../../gadget/run.ts';
import type { RunCounters } from '../../gadget/run-options.ts';
import { compileFilter } from '../../output/filter.ts';
import { EventOutput, OUTPUT_MODES } from '../../output/output.ts';
import type { ContainerCollection } from '../../enrich/containers/index.ts';
import { RawbpfError } from '../../error.ts';
import { containerKeys, tellContainers } from '../../gadget/container-keys.ts';
import { containerOptions, containerPart, hostRootOf, openContainers, scopeOf, selectsContainers } from '../container-options.ts';
import { clusterOf, clusterOptions, hasEndpoints, startCluster } from '../cluster.ts';
import { commonOptions, outputOption, type Command, type CommandContext } from '../command.ts';
import { compileGadget } from '../compile.ts';
import { fetchOptions, wakeupMs } from '../fetch-options.ts';
import { findGadget, type GadgetFiles } from '../gadget-files.ts';
import { commandHelp } from '../help.ts';
import { parseOptions, usage, type OptionSpec, type ParsedOptions } from '../options.ts';
import { watchParents } from '../parent.ts';
import { releaseProgramPages } from '../../sys/program-pages.ts';
import { printable } from '../../bytes/printable.ts';
import { parseFile, readFile } from '../read-input.ts';

const options: readonly OptionSpec[] = [
  outputOption(OUTPUT_MODES),
  { name: 'fields', value: 'LIST', help: 'columns to show: a,b or +c,-d' },
  {
    name: 'filter',
    short: 'F',
    value: 'RULES',
    multiple: true,
    help: 'events to show: FIELD OP VALUE[,...] with ==, !=, <, <=, >, >=, ~, !~ (regular expressions as RE2 has them)',
  },
  { name: 'sort', value: 'LIST', help: 'order of what iterators and maps give: a,-b' },
  { name: 'max-entries', value: 'N', help: 'how many of what iterators and maps give to show; of other events, after how many to stop' },
  { name: 'map-fetch-interval', value: 'T', help: 'time between reads of iterators and maps: 2, 500ms, or SOURCE:1s,...' },
  { name: 'map-fetch-count', value: 'N', help: 'how often iterators and maps are read before it stops: 3, or SOURCE:3,...' },
  { name: 'timeout', short: 't', value: 'S', help: 'stop after S seconds' },
  { name: 'max-events', value: 'N', help: 'stop after N events' },
  { name: 'buffer-size', value: 'BYTES', help: 'size of the buffer that events come through, such as 256K or 4M' },
  {
    name: 'wakeup',
    value: 'T',
    help: 'event (default): events wake the reader; a time such as 50ms: it looks so often, and producers are spared that',
  },
  { name: 'count-loss', help: 'make an object that does not count lost events count them' },
  {
    name: 'iface',
    value: 'NAME',
    help: 'a network device of the host: for gadgets that look at packets, instead of all network namespaces',
  },
  { name: 'skip-unsupported', help: 'go on without programs that cannot be loaded or attached here' },
  { name: 'buffer', value: 'KIND', help: 'auto, ringbuf or perf (default auto: asks the kernel)' },
  ...clusterOptions,
  { name: 'ordered', help: 'with perf buffers: events of all CPUs in the order of their times' },
  { name: 'verbose', short: 'v', help: 'tell on stderr what is attached' },
  ...containerOptions,
];

/** `rawbpf run`: runs a gadget until it is stopped. */
export const runCommand: Command = {
  name: 'run',
  summary: 'run a gadget and print its events',
  usage: 'run GADGET [flags]',
  description:
    'GADGET is a built-in name (see rawbpf list), a compiled object (.o) or a folder with program.bpf.c, which clang compiles.\n' +
    'A gadget has flags of its own: rawbpf run GADGET --help shows them; they come after its name.\n' +
    'With json: one object a line. Ctrl-C ends it; the last line on stderr is NAME: N received, N lost, N discarded\n' +
    '(and N not written, of those received, where nobody read stdout).',
  options,
  examples: ['rawbpf run trace_exec', 'rawbpf run trace_open -o json --comm cat', 'rawbpf run ./my-gadget --timeout 10'],
  async run(context) {
    const { options: before, rest } = parseOptions(context.args, [...options, ...commonOptions], true);
    const [name, ...after] = [...before.operands, ...rest];
    if (name === undefined) {
      if (!before.has('help')) throw usage('run needs a gadget', 'rawbpf list shows the built-in ones');
      context.stdout.write(commandHelp(runCommand));
      return 0;
    }
    return await runGadgetCommand(context, name, context.args.slice(0, context.args.length - after.length - 1), after);
  },
};

async function runGadgetCommand(
  context: CommandContext,
  name: string,
  before: readonly string[],
  after: readonly string[],
): Promise<number> {
  const { stdout, stderr } = context;
  const notice = (message: string): void => void stderr.write(`rawbpf: ${printable(message)}\n`);
  const files = findGadget(name);
  const opened = (bytes: Uint8Array): ObjectSpec => openObject(bytes, { name: files.name });
  const spec = files.object === null ? opened(compileGadget(files.source ?? '')) : parseFile(files.object, opened);
  const yaml = files.metadata === null ? null : { text: new TextDecoder().decode(readFile(files.metadata)), file: files.metadata };
  let metadata = yaml === null ? noMetadata : parseMetadata(yaml.text, yaml.file);
  // What the machine answers is asked for below: help needs no privilege.
  const kernel = new Kernel({ onNotice: (each) => notice(each.message), buffer: bufferOf(before, after) });
  const cluster = await clusterOf([...before, ...after], notice);
  const machine = hostContext(kernel.sys, {
    vmlinuxBtf: () => kernel.vmlinuxBtf(),
    notice,
    ...(cluster === null ? {} : { endpoints: cluster }),
  });
  const open = (context: EventContext): Gadget => openGadget({ object: spec, name: files.name, metadata, context });
  let plain = openGadget({ object: spec, name: files.name, metadata, context: { ...machine, containers: noContainers }, notice });
  const own = paramOptions(plain);
  const custom = customOptions(metadata, own);
  const { options: given } = parseOptions([...before, ...after], [...options, ...own, ...custom, ...commonOptions]);
  if (given.has('help')) {
    stdout.write(commandHelp(runCommand, [...own, ...custom]));
    return 0;
  }
  if (given.operands.length > 0) throw usage(`run takes one gadget, not also ${given.operands.join(' ')}`);
  if (yaml !== null && custom.some(({ name }) => given.has(name))) {
    metadata = parseMetadata(yaml.text, yaml.file, valuesOf(given, custom));
    plain = open({ ...machine, containers: noContainers });
  }
  try {
    // What a run that was killed has left attached.
    sweepUnlinked(kernel);
    checkFlags(plain, given, own);
    const showsContainers = wantsContainers(plain, given);
    if (cluster !== null && (showsContainers || hasEndpoints(plain))) await startCluster(cluster, notice);
    // What compiling and parsing needed is not wanted for loading, and what loading the tracker needed not for the gadget: no peak is of all.
    letGo(kernel);
    const containers = showsContainers ? await containersFor(given, kernel, cluster, notice) : null;
    try {
      if (containers !== null) letGo(kernel);
      const hostRoot = hostRootOf(given);
      const ids = hostRoot === null ? {} : { ids: new UserNames({ root: hostRoot }) };
      const gadget = open({ ...machine, ...ids, ...(containers === null ? {} : { containers }) });
      return await follow({ context, files, gadget, given, kernel, own, notice, containers, cluster });
    } finally {
      containers?.close();
    }
  } finally {
    cluster?.close();
    kernel.close();
  }
}

interface Following {
  readonly context: CommandContext;
  readonly files: GadgetFiles;
  readonly gadget: Gadget;
  readonly given: ParsedOptions;
  readonly kernel: Kernel;
  readonly own: readonly OptionSpec[];
  readonly notice: (message: string) => void;
  readonly containers: ContainerCollection | null;
  readonly cluster: Cluster | null;
}

/** Throws for values that do not fit, before anything is loaded. */
function checkFlags(gadget: Gadget, given: ParsedOptions, own: readonly OptionSpec[]): void {
  gadget.params.apply(valuesOf(given, own));
  const rules = given.all('filter').join(',');
  for (const source of gadget.sources) if (rules !== '') compileFilter(source, rules, gadget.sources);
  // Before the field that it names: there is no right one.
  if (given.has('sort') && gadget.sources.every(({ kind }) => kind === 'tracer')) {
    throw usage(
      `--sort orders what iterators and maps give, and events of ${gadget.name} come one by one`,
      'rawbpf run ... -o json has them all, for another program to put in order',
    );
  }
  const output = { mode: 'none', sources: gadget.sources, target: process.stdout } as const;
  void new EventOutput({ ...output, fields: given.text('fields'), sort: given.text('sort') });
  given.integer('max-events', { min: 1, max: Number.MAX_SAFE_INTEGER });
  given.integer('max-entries', { min: 0, max: Number.MAX_SAFE_INTEGER });
  void fetchOptions(given, gadget.sources);
  void wakeupMs(given);
  given.choice('output', OUTPUT_MODES);
  given.seconds('timeout');
  scopeOf(given);
}

/** Values of the gadget's parameters. */
function valuesOf(given: ParsedOptions, own: readonly OptionSpec[]): ReadonlyMap<string, string> {
  return new Map(own.flatMap((param) => (given.has(param.name) ? [[param.name, given.text(param.name) ?? ''] as const] : [])));
}

/** Whether anything is to be known of containers: events tell theirs, or some are asked for. */
function wantsContainers(gadget: Gadget, given: ParsedOptions): boolean {
  if (given.flag('no-containers')) {
    if (selectsContainers(given)) throw usage('--no-containers goes with no other container flag');
    return false;
  }
  return selectsContainers(given) || gadget.sources.some((source) => tellContainers(containerKeys(source.fields)));
}

/** The containers that the gadget's events happen in; null where they cannot be known and need not be. */
async function containersFor(
  given: ParsedOptions,
  kernel: Kernel,
  cluster: Cluster | null,
  notice: (message: string) => void,
): Promise<ContainerCollection | null> {
  try {
    return await openContainers(given, kernel, notice, cluster);
  } catch (error) {
    // Names are a gift; a selection is a promise.
    if (selectsContainers(given) || !(error instanceof RawbpfError)) throw error;
    notice(`containers are not shown: ${error.message}`);
    return null;
  }
}

/** Loads, attaches, prints events until something ends it, and says what was counted. */
async function follow({ context, files, gadget, given, kernel, own, notice, containers, cluster }: Following): Promise<number> {
  const { stderr } = context;
  const mode = given.flag('json') ? 'json' : (given.choice('output', OUTPUT_MODES) ?? 'columns');
  const seconds = given.seconds('timeout');
  const bufferSize = bytesOf(given.text('buffer-size'), 'buffer-size');
  const maxEvents = given.integer('max-events', { min: 1, max: Number.MAX_SAFE_INTEGER });
  // Events that come one by one have no last one to cut behind, and no order but their own.
  const onlyTracers = gadget.sources.every(({ kind }) => kind === 'tracer');
  const maxEntries = given.integer('max-entries', { min: 0, max: Number.MAX_SAFE_INTEGER });
  const most = maxEvents ?? (onlyTracers && maxEntries !== null && maxEntries > 0 ? maxEntries : null);
  const rules = given.all('filter').join(',');
  const run = new GadgetRun(gadget, {
    kernel,
    notice,
    params: valuesOf(given, own),
    skipUnsupported: given.flag('skip-unsupported'),
    ordered: given.flag('ordered'),
    parts: [
      ...(containers === null ? [] : [containerPart(given, containers)]),
      ...(cluster === null ? [] : [new EndpointPart(cluster)]),
      ...machineParts({ notice, ...(given.has('iface') ? { iface: given.text('iface') ?? '' } : {}) }),
    ],
    ...(rules === '' ? {} : { filter: (source) => compileFilter(source, rules) }),
    ...(seconds === null ? {} : { timeoutMs: seconds * 1000 }),
    ...(most === null ? {} : { maxEvents: most }),
    ...(bufferSize === null ? {} : { bufferSize }),
    countLoss: given.flag('count-loss'),
    wakeupMs: wakeupMs(given),
    ...fetchOptions(given, gadget.sources),
  });
  const output = new EventOutput({
    mode,
    sources: gadget.sources,
    target: process.stdout,
    width: process.stdout.isTTY ? process.stdout.columns : null,
    fields: given.text('fields'),
    sort: given.text('sort'),
    maxEntries,
    deviceName: (ifindex) => deviceName(kernel.sys, ifindex),
  });
  const resize = (): void => output.resize(process.stdout.columns);
  let asked = false;
  const stop = (): void => {
    asked = true;
    run.stop();
  };
  if (!pidsAreHosts()) notice(foreignPidsNotice);
  const parents = process.env['RAWBPF_END_WITH_PARENT'] === undefined ? null : watchParents(kernel.sys, stop);
  for (const signal of signals) process.on(signal, stop);
  process.stdout.on('resize', resize);
  const settling = settledAfter.map((ms) => setTimeout(() => letGo(kernel), ms).unref());
  try {
    run.start({
      event: (source, record) => output.event(source, record),
      batch: (source, records) => output.batch(source, records),
      batchEnd() {
        if (!output.congested) return;
        run.pause();
        void output.drained().then(() => run.resume());
      },
    });
    output.open();
    kernel.dropCaches();
    if (given.flag('verbose'))
      stderr.write(`${run.attached.map((link) => `${files.name}: ${printable(link)}\n`).join('')}${files.name}: attached\n`);
    const result = await run.done;
    output.end();
    // Who asked for the end gets it soon, even where nobody reads stdout any more; a slow reader gets everything.
    for (let left = Number.POSITIVE_INFINITY; output.congested && !(asked && process.stdout.writableLength >= left);) {
      left = process.stdout.writableLength;
      await Promise.race([output.drained(), pause(patienceMs, undefined, { ref: false })]);
    }
    if (output.congested) {
      notice('stdout is not being read: the last events were not written');
      // What is still to be written would keep the program alive.
      setImmediate(() => process.exit());
    }
    const left = output.congested ? output.unwritten : 0;
    for (const missed of result.missed) stderr.write(`${files.name}: ${printable(missedRunsText(missed))}\n`);
    for (const misfits of result.misfits) stderr.write(`${files.name}: ${printable(misfitsText(misfits))}\n`);
    stderr.write(`${files.name}: ${counts(result.counters)}${left === 0 ? '' : `, ${left} not written`}\n`);
    return 0;
  } finally {
    parents?.close();
    for (const timer of settling) clearTimeout(timer);
    for (const signal of signals) process.off(signal, stop);
    process.stdout.off('resize', resize);
  }
}

/** Lets go of pages of Node's program that are not wanted any more. */
function letGo(kernel: Kernel): void {
  if (process.env['RAWBPF_KEEP_PAGES'] === undefined) releaseProgramPages(kernel.sys);
}

/** Milliseconds after which a run does what it will do from then on, and pages of the start are not wanted any more. */
const settledAfter = [300, 3000, 30_000] as const;

/** Milliseconds without anything read after which, when a signal came, nobody reads stdout. */
const patienceMs = 1000;

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

function counts({ received, lost, discarded }: RunCounters): string {
  return `${received} received, ${lost === null ? 'lost not counted by this object' : `${lost} lost`}, ${discarded} discarded`;
}

/** A gadget's parameters as options. */
function paramOptions(gadget: Gadget): readonly OptionSpec[] {
  const taken = new Set([...options, ...commonOptions].map((option) => option.name));
  // Of one letter the first has it: -o is the output's, whatever a gadget.yaml says.
  const letters = new Set([...options, ...commonOptions].map((option) => option.short));
  return gadget.params.list.flatMap((param) => {
    if (taken.has(param.key)) return [];
    const help = describeParam(param).text;
    const isFree = Array.from(param.alias).length === 1 && !letters.has(param.alias);
    if (isFree) letters.add(param.alias);
    const short = isFree ? { short: param.alias } : {};
    return [{ name: param.key, help, ...short, ...(param.typeHint === 'bool' ? {} : { value: param.typeHint.toUpperCase() }) }];
  });
}

/** Parameters of gadget.yaml's own as options, those whose names are taken left out. */
function customOptions(metadata: GadgetMetadata, own: readonly OptionSpec[]): readonly OptionSpec[] {
  const taken = new Set([...options, ...own, ...commonOptions].map((option) => option.name));
  return metadata.custom.flatMap(({ name, description, defaultValue, possibleValues }) => {
    const value = possibleValues.length > 0 && possibleValues.length <= 8 ? possibleValues.join('|') : 'VALUE';
    return taken.has(name) ? [] : [{ name, value, help: defaultValue === '' ? description : `${description} (default ${defaultValue})` }];
  });
}

/** The buffer is decided before the gadget's own flags are known. */
function bufferOf(before: readonly string[], after: readonly string[]): 'auto' | 'ringbuf' | 'perf' {
  const args = [...before, ...after];
  const at = args.findIndex((arg) => arg === '--buffer' || arg.startsWith('--buffer='));
  if (at < 0) return 'auto';
  const value = args[at]?.includes('=') === true ? args[at]?.slice('--buffer='.length) : args[at + 1];
  if (value === 'auto' || value === 'ringbuf' || value === 'perf') return value;
  throw usage(`--buffer ${value ?? ''} is not known`, 'it is one of auto, ringbuf, perf');
}

/** `4096`, `256K`, `4M`, `1G`. */
function bytesOf(text: string | null, flag: string): number | null {
  if (text === null) return null;
  const [, digits, unit] = /^(\d{1,12})([KMG]?)(?:i?B)?$/i.exec(text) ?? [];
  if (digits === undefined || unit === undefined) throw usage(`--${flag} ${text} is no size`, 'it is a number of bytes, with K, M or G');
  return Number(digits) * 1024 ** ' KMG'.indexOf(unit === '' ? ' ' : unit.toUpperCase());
}
