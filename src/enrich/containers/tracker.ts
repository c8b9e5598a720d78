import { readFileSync } from 'node:fs';
import { loadCollection } from '../../bpf/collection/load.ts';
import type { Collection } from '../../bpf/collection/collection.ts';
import type { BpfVariable } from '../../bpf/collection/variables.ts';
import { RingbufReader } from '../../bpf/events/ringbuf-reader.ts';
import type { UnsafeVisitor } from '../../bpf/events/record-block.ts';
import type { Kernel } from '../../bpf/kernel/kernel.ts';
import { attachProgram } from '../../bpf/link/attach.ts';
import { attachIter } from '../../bpf/link/iter.ts';
import { attachTracepoint } from '../../bpf/link/tracepoint.ts';
import type { BpfMap } from '../../bpf/map/map.ts';
import { openObject } from '../../bpf/object/open.ts';
import { testRun } from '../../bpf/program/test-run.ts';
import { undoOnError } from '../../bpf/undo.ts';
import { UnsupportedError } from '../../error.ts';
import { readTaskEvent, type TaskEvent } from './task-event.ts';
import type { Gap, Watcher } from './watcher.ts';

/** Runs of one process that can filter at the same time; MAX_FILTERS of programs/tracker.bpf.c. */
const maxFilters = 8;
const objectUrl = new URL('../../../../src/enrich/containers/programs/tracker.bpf.o', import.meta.url);

const attached = ['forked', 'execed', 'exited', 'unshare_entered', 'moved', 'attached'] as const;

/** Inode numbers of the host's namespaces. */
export interface HostNamespaces {
  readonly mntns: number;
  readonly netns: number;
  readonly pidns: number;
}

/** The last that is known of a task that ends. */
export interface ExitedTask {
  readonly mntns: number;
  readonly unique: bigint;
  /** Nanoseconds since boot. */
  readonly time: number;
}

/** The programs that see mount namespaces, loaded and attached, and what they tell. */
export class Tracker implements Watcher {
  readonly host: HostNamespaces;
  readonly #collection: Collection;
  readonly #reader: RingbufReader;
  readonly #visitor: UnsafeVisitor;
  readonly #slots: (BpfMap | null)[] = Array.from({ length: maxFilters }, () => null);
  readonly #lostEvents: BpfVariable;
  #lost = 0;
  #closed = false;

  /** `bufferBytes`: of the programs' reports, 2 MiB unless said. Throws what loading and attaching throw; nothing stays behind then. */
  constructor(kernel: Kernel, onEvent: (event: TaskEvent) => void, onBatchEnd: () => void, bufferBytes?: number) {
    const spec = openObject(readFileSync(objectUrl), { name: 'tracker' });
    const { collection, reader } = undoOnError((undo) => {
      const mapSizes = bufferBytes === undefined ? {} : { events: bufferBytes };
      const loaded = undo.own(loadCollection(kernel, spec, { mapSizes, optional: (program) => program.name === 'scan' }));
      testRun(loaded.program('find_host'), { context: new Uint8Array(8) });
      for (const name of attached) {
        const link = attachProgram(loaded.program(name));
        if (link !== null) loaded.addLink(link);
      }
      loaded.addLink(attachTracepoint(loaded.program('moved'), 'syscalls/sys_exit_setns'));
      loaded.forgetLinking();
      const events = loaded.map('events');
      return { collection: loaded, reader: new RingbufReader(kernel.sys, events.fd, events.maxEntries) };
    });
    this.#collection = collection;
    this.#reader = reader;
    this.#lostEvents = collection.variable('lost_events');
    this.#visitor = (view, offset, length) => onEvent(readTaskEvent(view, offset, length));
    this.host = { mntns: this.#number('host_mntns'), netns: this.#number('host_netns'), pidns: this.#number('host_pidns') };
    reader.startUnsafe(this.#visitor, onBatchEnd);
    reader.unref();
  }

  get fullFilters(): number {
    return this.#number('full_filters');
  }

  takeGap(): Gap | null {
    if (this.#closed) return null;
    const lost = Number(this.#lostEvents.get());
    if (lost === this.#lost) return null;
    const count = lost - this.#lost;
    this.#lost = lost;
    const [since, until] = [this.#number('lost_since'), this.#number('lost_until')];
    // What is lost from here on sets it anew; what was lost since it was read above belongs to the next gap, which then has no beginning but its end.
    this.#collection.variable('lost_since').set(0n);
    return { count, since: since === 0 ? until : Math.min(since, until), until };
  }

  holds(mntns: number, unique: bigint): boolean {
    if (this.#closed) return false;
    const bytes = this.#collection.map('known').lookup(u32(mntns));
    return bytes !== null && new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true) === unique;
  }

  forgetUnreported(): void {
    if (this.#closed) return;
    const known = this.#collection.map('known');
    for (const map of this.#slots) {
      if (map === null) continue;
      for (const key of [...map.keys()]) {
        const mntns = new DataView(key.buffer, key.byteOffset).getUint32(0, true);
        // 0 is for processes that are ending.
        if (mntns !== 0 && known.lookup(u32(mntns)) === null) this.forget(mntns, 0n);
      }
    }
  }

  /** Keeps the process alive for what is to come. */
  setReferenced(referenced: boolean): void {
    if (referenced) this.#reader.ref();
    else this.#reader.unref();
  }

  drain(): boolean {
    if (this.#closed) return true;
    for (;;) {
      const taken = this.#reader.drainUnsafe(this.#visitor);
      if (this.#reader.pendingBytes === 0) return true;
      // Either more came in the meantime, or nothing can be taken: a producer has been interrupted, or this is within its turn.
      if (taken === 0) return false;
    }
  }

  /** Reports the namespaces of all tasks of this process's pid namespace that were not reported before; false where this kernel cannot. */
  scan(): boolean {
    const program = this.#collection.programs.get('scan');
    if (program === undefined) return false;
    const link = attachIter(program, 'task');
    try {
      link.read();
    } finally {
      link.close();
    }
    return true;
  }

  /** Has every new namespace put into `map`, and returns where; throws E_CONTAINER_FILTERS where there are too many already. */
  addFilter(map: BpfMap): number {
    const slot = this.#slots.indexOf(null);
    if (slot < 0) {
      throw new UnsupportedError({
        code: 'E_CONTAINER_FILTERS',
        what: `more than ${maxFilters} runs with container flags at once`,
        next: 'give a further run containers of its own',
      });
    }
    this.#collection.map('filters').update(u32(slot), u32(map.fd));
    this.#slots[slot] = map;
    return slot;
  }

  removeFilter(slot: number): void {
    if (this.#closed || this.#slots[slot] === null) return;
    this.#slots[slot] = null;
    this.#collection.map('filters').delete(u32(slot));
  }

  /** Takes a namespace out of one filter, or out of all and out of memory; nothing happens where its number belongs to another one by now. */
  forget(mntns: number, unique: bigint, slot: number = maxFilters): void {
    if (this.#closed) return;
    const context = new DataView(new ArrayBuffer(24));
    context.setBigUint64(0, BigInt(mntns), true);
    context.setBigUint64(8, unique, true);
    context.setBigUint64(16, BigInt(slot), true);
    testRun(this.#collection.program('forget'), { context: new Uint8Array(context.buffer) });
  }

  /** Where a task was that ended, or is about to; null where it is not known, or was the host's. */
  exited(tid: number): ExitedTask | null {
    if (this.#closed) return null;
    const bytes = this.#collection.map('exiting').lookup(u32(tid));
    if (bytes === null) return null;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    return { unique: view.getBigUint64(0, true), time: Number(view.getBigUint64(8, true)), mntns: view.getUint32(16, true) };
  }

  /** Drops the tasks that ended before a time in nanoseconds since boot; the map would keep them until it is full. */
  forgetExited(beforeBootNs: number): void {
    if (this.#closed) return;
    const map = this.#collection.map('exiting');
    for (const { keys, values } of map.batch.lookup(1024)) {
      const old = keys.filter((_, i) => timeOfExit(values[i] ?? new Uint8Array(24)) < beforeBootNs);
      map.batch.delete(old);
    }
  }

  /** Entries of the programs' maps, for tests. */
  count(map: 'known' | 'exiting' | 'leaving'): number {
    return [...this.#collection.map(map).keys()].length;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#reader.close();
    this.#collection.close();
  }

  #number(variable: string): number {
    return Number(this.#collection.variable(variable).get());
  }
}

/** Of a struct exit_state. */
function timeOfExit(bytes: Uint8Array): number {
  return Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(8, true));
}

function u32(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}
