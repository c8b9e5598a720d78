import { readFileSync } from 'node:fs';
import type { Collection } from '../../bpf/collection/collection.ts';
import { loadCollection } from '../../bpf/collection/load.ts';
import type { Kernel } from '../../bpf/kernel/kernel.ts';
import { attachProgram } from '../../bpf/link/attach.ts';
import { attachCgroup } from '../../bpf/link/cgroup.ts';
import { attachIter, type IterLink } from '../../bpf/link/iter.ts';
import type { BpfMap } from '../../bpf/map/map.ts';
import { openObject } from '../../bpf/object/open.ts';
import type { MapSpec, ObjectSpec } from '../../bpf/object/spec.ts';
import { undoOnError } from '../../bpf/undo.ts';
import { RawbpfError } from '../../error.ts';
import { openFs } from '../../sys/detached-mount.ts';
import { versionCode } from '../../sys/kernel-version.ts';
import { inInitialNamespace } from '../../sys/namespaces.ts';
import { socketLayout, type SocketFields, type SocketLayout } from './layout.ts';

const objectUrl = (name: string): URL => new URL(`../../../../src/enrich/sockets/programs/${name}.bpf.o`, import.meta.url);

/** Maps with an entry for each socket, or more. */
const tables = new Map([
  ['gadget_sockets', 1],
  ['gadget_socket_flows', 1],
  ['socket_states', 1],
  ['holdings', 4],
]);
/** Maps whose values have the layout in use. */
const valueMaps = new Set(['gadget_sockets', 'gadget_socket_flows', 'nothing']);
/** Programs attached to the root of the cgroup hierarchy, so that they see every process. */
const cgroupPrograms = ['socket_bound4', 'socket_bound6', 'socket_released', 'socket_sends'] as const;
/** What takes their place where cgroups do not show all processes. */
const withoutCgroup = ['packet_queued', 'bind_begins', 'bind_ends'] as const;
const iterPrograms = ['find_sockets', 'find_listeners', 'sweep_sockets', 'sweep_flows', 'sweep_holdings'] as const;
/** Linux 6.3. */
const receiveProgram = 'socket_receives';
const BPF_F_NO_PREALLOC = 1;

/** How a {@link SocketEnricher} keeps its map. */
export interface SocketEnricherOptions {
  /** Bytes of the optional fields; none unless said. */
  readonly fields?: SocketFields;
  /** How many sockets are remembered; 16384 unless said. */
  readonly maxSockets?: number;
  /** Milliseconds for which a socket that is gone is remembered, for its last packets; 5000 unless said. */
  readonly keepMs?: number;
  /** Milliseconds between looks for those; 2000 unless said. */
  readonly sweepMs?: number;
  /** Where packets are seen first: `auto` is cgroups where this process sees the root of their hierarchy. */
  readonly egress?: 'auto' | 'cgroup' | 'queue';
  /** The programs for kernels before 5.17; for tests. */
  readonly bounded?: boolean;
  readonly notice?: (message: string) => void;
}

/** What has been counted. */
export interface SocketCounters {
  /** Sockets that the maps had no room for. */
  readonly notFitting: number;
  /** Times that a port turned out to belong to several processes. */
  readonly ambiguities: number;
}

/**
 * Keeps the map `gadget_sockets`: which process each TCP and UDP socket of every network namespace belongs to. It works from
 * the moment it is made until it is closed.
 */
export class SocketEnricher {
  readonly layout: SocketLayout;
  readonly kernel: Kernel;
  readonly #collection: Collection;
  readonly #sweeps: readonly IterLink[];
  readonly #timer: NodeJS.Timeout;
  readonly #notice: (message: string) => void;
  #toldFull = false;
  #toldFailure = false;
  #closed = false;

  /** Loads and attaches; throws what these throw, and nothing stays behind then. */
  constructor(kernel: Kernel, options: SocketEnricherOptions = {}) {
    this.kernel = kernel;
    this.layout = socketLayout(options.fields ?? { cwd: 0, exepath: 0 });
    const notice = options.notice ?? ((): void => {});
    this.#notice = notice;
    // bpf_loop(): until then the verifier walks through each round.
    const hasLoop = options.bounded !== true && kernel.version >= versionCode(5, 17);
    const spec = openObject(readFileSync(objectUrl(hasLoop ? 'sockets' : 'sockets-bounded')), { name: 'sockets' });
    const viaCgroup = options.egress === 'cgroup' || (options.egress !== 'queue' && inInitialNamespace('cgroup') !== false);
    const hasReceive = (kernel.vmlinuxBtf()?.findByName('btf_trace_sock_recv_length', 'TYPEDEF') ?? null) !== null;
    // Socket storage in tracing programs.
    const hasStorage = kernel.version >= versionCode(5, 11);
    const left = new Set<string>([
      ...(viaCgroup ? withoutCgroup : cgroupPrograms),
      ...(hasReceive ? [] : [receiveProgram]),
      ...(hasStorage ? [] : ['find_listeners']),
    ]);
    const { collection, sweeps } = undoOnError((undo) => {
      const loaded = undo.own(
        loadCollection(kernel, sized(spec, this.layout, options.maxSockets ?? 16384, kernel), {
          programs: (program) => !left.has(program.name),
          variables: {
            cwd_at: this.layout.cwdAt,
            cwd_size: this.layout.fields.cwd,
            exepath_at: this.layout.exepathAt,
            exepath_size: this.layout.fields.exepath,
            keep_ns: BigInt(Math.round((options.keepMs ?? 5000) * 1e6)),
            has_storage: hasStorage,
            has_release: viaCgroup,
          },
        }),
      );
      loaded.forgetLinking();
      attachTracing(loaded, notice);
      attachCgroups(kernel, loaded, notice);
      const map = (name: string): BpfMap => loaded.map(name);
      const swept = [
        undo.own(attachIter(loaded.program('sweep_sockets'), 'bpf_map_elem', { map: map('gadget_sockets') })),
        undo.own(attachIter(loaded.program('sweep_flows'), 'bpf_map_elem', { map: map('gadget_socket_flows') })),
        undo.own(attachIter(loaded.program('sweep_holdings'), 'bpf_map_elem', { map: map('holdings') })),
      ];
      if (hasStorage) runOnce(loaded, 'find_listeners', 'task_file');
      runOnce(loaded, 'find_sockets', 'task_file');
      return { collection: loaded, sweeps: swept };
    });
    this.#collection = collection;
    this.#sweeps = sweeps;
    this.#timer = setInterval(() => this.#sweepOnTime(), options.sweepMs ?? 2000);
    this.#timer.unref();
  }

  /** By port: what gadgets find as `gadget_sockets`. */
  get sockets(): BpfMap {
    return this.#collection.map('gadget_sockets');
  }

  /** By addresses: what tells sockets apart that share a port. */
  get flows(): BpfMap {
    return this.#collection.map('gadget_socket_flows');
  }

  /** What is known of each socket that there is, by its address in the kernel. */
  get states(): BpfMap {
    return this.#collection.map('socket_states');
  }

  /** Which processes hold a socket, of those that several hold: a process, a time, and the socket's address. */
  get holdings(): BpfMap {
    return this.#collection.map('holdings');
  }

  get counters(): SocketCounters {
    return {
      notFitting: Number(this.#collection.variable('not_fitting').get()),
      ambiguities: Number(this.#collection.variable('ambiguities').get()),
    };
  }

  /** Forgets sockets that have been gone for long enough. */
  sweep(): void {
    if (this.#closed) return;
    for (const link of this.#sweeps) link.read();
    const { notFitting } = this.counters;
    if (notFitting === 0 || this.#toldFull) return;
    this.#toldFull = true;
    this.#notice(`${notFitting} sockets had no room among the ${this.sockets.maxEntries} that are remembered: nobody is shown for them`);
  }

  /** What a timer throws ends the process: where descriptors or memory are short for a moment, the next sweep will do. */
  #sweepOnTime(): void {
    try {
      this.sweep();
    } catch (error) {
      if (!(error instanceof RawbpfError)) throw error;
      if (!this.#toldFailure) this.#notice(`sockets that are gone may be remembered for too long: ${error.message}`);
      this.#toldFailure = true;
    }
  }

  /** Detaches everything and lets go of the maps; harmless when repeated. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    for (const link of this.#sweeps) link.close();
    this.#collection.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function sized(spec: ObjectSpec, layout: SocketLayout, entries: number, kernel: Kernel): ObjectSpec {
  // Before 6.1 memory taken in the middle of anything can lock up; since then there are caches for it.
  const flags = kernel.version >= versionCode(6, 1) ? BPF_F_NO_PREALLOC : 0;
  const maps = spec.maps.map((map): MapSpec => {
    const factor = tables.get(map.name);
    const value = valueMaps.has(map.name) ? { valueSize: layout.size, keyTypeId: 0, valueTypeId: 0 } : {};
    return { ...map, ...value, ...(factor === undefined ? {} : { maxEntries: entries * factor, flags: map.flags | flags }) };
  });
  return { ...spec, maps };
}

function attachTracing(collection: Collection, notice: (message: string) => void): void {
  const elsewhere = new Set<string>([...cgroupPrograms, ...iterPrograms]);
  for (const [name, program] of collection.programs) {
    if (elsewhere.has(name)) continue;
    try {
      const link = attachProgram(program);
      if (link !== null) collection.addLink(link);
    } catch (error) {
      if (!(error instanceof RawbpfError) || (!name.endsWith('_begins') && !name.endsWith('_ends'))) throw error;
      // A system call that this machine or this kernel does not have.
      if (error.code !== 'E_TRACEPOINT') notice(`who holds a socket may not be known: ${error.message}`);
    }
  }
}

function attachCgroups(kernel: Kernel, collection: Collection, notice: (message: string) => void): void {
  let root;
  try {
    root = openFs(kernel.sys, 'cgroup2');
  } catch (error) {
    if (!(error instanceof RawbpfError)) throw error;
    notice(`sockets that only receive are not known: ${error.message}`);
    return;
  }
  try {
    for (const name of cgroupPrograms) {
      const program = collection.programs.get(name);
      if (program !== undefined) collection.addLink(attachCgroup(program, root.path));
    }
  } finally {
    root.close();
  }
}

function runOnce(collection: Collection, name: string, target: string): void {
  const link = attachIter(collection.program(name), target);
  try {
    link.read();
  } finally {
    link.close();
  }
}
