import { Kernel, type BufferChoice } from '../bpf/kernel/kernel.ts';
import type { ObjectSpec } from '../bpf/object/spec.ts';
import type { EndpointNames } from '../gadget/context.ts';
import { openGadget, type Gadget } from '../gadget/gadget.ts';
import type { GadgetMetadata } from '../gadget/metadata.ts';
import type { ParamValue } from '../gadget/params.ts';
import { GadgetRun } from '../gadget/run.ts';
import type { RunOptions } from '../gadget/run-options.ts';
import { eventStream, type EventStreamOptions } from '../gadget/stream.ts';
import type { EventObject } from '../gadget/tree.ts';
import { UsageError } from '../error.ts';
import type { ContainerCollection } from './containers/collection.ts';
import { ContainerFilter, type ContainerSelection } from './containers/filter.ts';
import { ContainerPart, type ContainerScope } from './containers/part.ts';
import { hostContext } from './context.ts';
import { Cluster, EndpointPart } from './kubernetes/index.ts';
import { machineParts } from './machine-parts.ts';
import { foreignPidsNotice, pidsAreHosts } from './pidns.ts';

/** What {@link runGadget} runs, and how. */
export interface RunGadgetOptions extends Omit<RunOptions, 'params' | 'notice'>, EventStreamOptions {
  /** The compiled object, or its spec. */
  readonly object: Uint8Array | ObjectSpec;
  readonly name?: string;
  readonly metadata?: GadgetMetadata;
  /** Values of parameters, by their flags: `{ pid: 1234, comm: 'bash' }`. */
  readonly params?: Readonly<Record<string, ParamValue>>;
  /** Which way events take; a given `kernel` has its own answer. */
  readonly buffer?: BufferChoice;
  readonly onNotice?: (message: string) => void;
  /** Names of addresses, such as a started {@link Cluster}, which stays the caller's to close. */
  readonly endpoints?: EndpointNames;
  /** Whose events they are; an open collection, which stays the caller's to close. */
  readonly containers?: ContainerCollection;
  /** Events of these containers only; it needs {@link RunGadgetOptions.containers}. */
  readonly select?: ContainerSelection;
  /** With containers: events of everybody (default), of containers, or of the host alone. */
  readonly scope?: ContainerScope;
}

/** Events of a running gadget, as `for await` takes them. */
export interface GadgetEvents extends AsyncIterable<EventObject> {
  readonly gadget: Gadget;
  readonly run: GadgetRun;
  /** Detaches everything; the loop over the events ends after those already read. */
  stop(): void;
}

/**
 * Runs a gadget on this machine and gives its events, decoded: nested objects, 64-bit integers as bigint, with wall-clock times
 * and names of users. The programs are attached when the function returns; leaving the loop, or stop(), detaches them.
 *
 * Throws what {@link openGadget} and {@link GadgetRun.start} throw.
 *
 * @example
 * import { readFileSync } from 'node:fs';
 * import { runGadget } from 'rawbpf';
 * export async function printPrograms(path: string): Promise<void> {
 *   for await (const event of runGadget({ object: readFileSync(path), maxEvents: 10 })) console.log(event['proc'], event['args']);
 * }
 */
export function runGadget(options: RunGadgetOptions): GadgetEvents {
  const notice = options.onNotice ?? ((): void => {});
  const { containers } = options;
  if (containers === undefined && (options.select !== undefined || options.scope !== undefined)) {
    throw new UsageError({
      code: 'E_CONTAINERS',
      what: 'events cannot be selected by containers that are not known',
      next: 'give a ContainerCollection as containers',
    });
  }
  const filter = options.select === undefined ? null : new ContainerFilter(options.select);
  const own = options.kernel === undefined;
  const kernel =
    options.kernel ??
    new Kernel({ onNotice: ({ message }) => notice(message), ...(options.buffer === undefined ? {} : { buffer: options.buffer }) });
  if (!pidsAreHosts()) notice(foreignPidsNotice);
  const gadget = openGadget({
    object: options.object,
    context: hostContext(kernel.sys, {
      vmlinuxBtf: () => kernel.vmlinuxBtf(),
      notice,
      ...(containers === undefined ? {} : { containers }),
      ...(options.endpoints === undefined ? {} : { endpoints: options.endpoints }),
    }),
    notice,
    ...(options.name === undefined ? {} : { name: options.name }),
    ...(options.metadata === undefined ? {} : { metadata: options.metadata }),
  });
  const run = new GadgetRun(gadget, {
    ...options,
    kernel,
    notice,
    params: new Map(Object.entries(options.params ?? {})),
    parts: [
      ...(options.parts ?? []),
      ...(containers === undefined ? [] : [new ContainerPart(containers, { filter, scope: options.scope ?? 'all' })]),
      ...(options.endpoints instanceof Cluster ? [new EndpointPart(options.endpoints)] : []),
      ...machineParts({ notice }),
    ],
  });
  let stream: AsyncGenerator<EventObject, void, undefined>;
  try {
    stream = eventStream(run, options);
  } finally {
    // Types and symbols are needed for loading only.
    if (own) kernel.dropCaches();
  }
  return { gadget, run, stop: () => run.stop(), [Symbol.asyncIterator]: () => stream };
}
