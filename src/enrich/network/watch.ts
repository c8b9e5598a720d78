import { readFileSync } from 'node:fs';
import type { Collection } from '../../bpf/collection/collection.ts';
import { loadCollection } from '../../bpf/collection/load.ts';
import { RingbufReader } from '../../bpf/events/ringbuf-reader.ts';
import type { Kernel } from '../../bpf/kernel/kernel.ts';
import { attachProgram } from '../../bpf/link/attach.ts';
import { attachCgroup } from '../../bpf/link/cgroup.ts';
import { attachIter, type IterLink } from '../../bpf/link/iter.ts';
import { openObject } from '../../bpf/object/open.ts';
import { undoOnError } from '../../bpf/undo.ts';
import { RawbpfError } from '../../error.ts';
import { openFs } from '../../sys/detached-mount.ts';
import { namespaceInode } from '../../sys/namespaces.ts';
import { type NamespaceListener, type NamespaceWatcher, tellChanges } from './namespace-watcher.ts';

const objectUrl = new URL('../../../../src/enrich/network/programs/namespaces.bpf.o', import.meta.url);

const tracing = ['executed', 'forked', 'exited'] as const;
/** struct namespace_event of programs/namespaces.bpf.c. */
const eventSize = 16;
const entered = 1;
/** Processes come and go in swarms: this long after one has ended all are looked at, once. */
const restMs = 50;
/** And this often in any case: threads move without a trace. */
const lookMs = 1000;

/** Knows which network namespaces have processes in them, from the moment the first gets there until the last is gone. */
export class NamespaceWatch implements NamespaceWatcher {
  readonly host: number;
  readonly #listener: NamespaceListener;
  readonly #collection: Collection;
  readonly #reader: RingbufReader;
  readonly #tasks: IterLink;
  readonly #timer: NodeJS.Timeout;
  /** Namespaces, each with a thread that was there. */
  readonly #known = new Map<number, number>();
  #rest: NodeJS.Timeout | null = null;
  #closed = false;

  /** Attaches, and tells of the namespaces that are there; throws what attaching throws, and nothing stays behind then. */
  constructor(kernel: Kernel, listener: NamespaceListener) {
    this.#listener = listener;
    this.host = namespaceInode(1, 'net') ?? namespaceInode('self', 'net') ?? 0;
    const spec = openObject(readFileSync(objectUrl), { name: 'namespaces' });
    const { collection, reader, tasks } = undoOnError((undo) => {
      const loaded = undo.own(loadCollection(kernel, spec, { variables: { host_netns: this.host } }));
      loaded.forgetLinking();
      for (const name of tracing) {
        const link = attachProgram(loaded.program(name));
        if (link !== null) loaded.addLink(link);
      }
      attachToCgroups(kernel, loaded);
      const events = loaded.map('events');
      const made = undo.own(new RingbufReader(kernel.sys, events.fd, events.maxEntries));
      return { collection: loaded, reader: made, tasks: undo.own(attachIter(loaded.program('where_tasks_are'), 'task')) };
    });
    this.#collection = collection;
    this.#reader = reader;
    this.#tasks = tasks;
    reader.startUnsafe((view, offset) => this.#event(view, offset));
    reader.unref();
    this.look();
    this.#timer = setInterval(() => this.#lookOnTime(), lookMs);
    this.#timer.unref();
  }

  /** Namespaces with processes in them, and a thread that was there at the last look. */
  get threads(): ReadonlyMap<number, number> {
    return this.#known;
  }

  /** Looks at all threads, and tells what has changed. */
  look(): void {
    if (this.#closed) return;
    const bytes = this.#tasks.read();
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const seen = new Map<number, number>();
    for (let at = 0; at + eventSize <= bytes.length; at += eventSize) {
      const netns = view.getUint32(at, true);
      if (!seen.has(netns)) seen.set(netns, view.getUint32(at + 4, true));
    }
    tellChanges(this.#known, seen, {
      enter: (netns, tid) => this.#enter(netns, tid),
      leave: (netns) => this.#leave(netns),
    });
  }

  /** Has a namespace told again when a process does something there: it could not be looked into. */
  forget(netns: number): void {
    this.#known.delete(netns);
    if (!this.#closed) this.#collection.map('told').delete(u32(netns));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    if (this.#rest !== null) clearTimeout(this.#rest);
    this.#tasks.close();
    this.#reader.close();
    this.#collection.close();
  }

  /** What a timer throws ends the process: where descriptors or memory are short for a moment, the next look will do. */
  #lookOnTime(): void {
    try {
      this.look();
    } catch (error) {
      if (!(error instanceof RawbpfError)) throw error;
    }
  }

  #event(view: DataView, at: number): void {
    const netns = view.getUint32(at, true);
    if (view.getUint32(at + 8, true) === entered) this.#enter(netns, view.getUint32(at + 4, true));
    else if (this.#rest === null) {
      this.#rest = setTimeout(() => {
        this.#rest = null;
        this.#lookOnTime();
      }, restMs);
      this.#rest.unref();
    }
  }

  #enter(netns: number, tid: number): void {
    if (this.#known.has(netns)) return;
    this.#known.set(netns, tid);
    try {
      this.#collection.map('told').update(u32(netns), u32(1));
    } catch (error) {
      // A full map: the programs tell of it again, which does no harm.
      if (!(error instanceof RawbpfError)) throw error;
    }
    this.#listener.entered(netns, tid);
  }

  #leave(netns: number): void {
    this.forget(netns);
    this.#listener.left(netns);
  }
}

/** Best effort: what it shows is seen a moment later without it. */
function attachToCgroups(kernel: Kernel, collection: Collection): void {
  try {
    const root = openFs(kernel.sys, 'cgroup2');
    try {
      collection.addLink(attachCgroup(collection.program('socket_made'), root.path));
    } finally {
      root.close();
    }
  } catch (error) {
    if (!(error instanceof RawbpfError)) throw error;
  }
}

function u32(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}
