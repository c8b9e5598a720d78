import { loadCollection } from '../bpf/collection/load.ts';
import type { Collection } from '../bpf/collection/collection.ts';
import type { EventSource } from '../bpf/events/event-source.ts';
import type { UnsafeVisitor } from '../bpf/events/record-block.ts';
import type { BpfMap } from '../bpf/map/map.ts';
import { namedMap, type LoadOptions } from '../bpf/collection/options.ts';
import type { ObjectSpec } from '../bpf/object/spec.ts';
import { BPF_MAP_TYPE } from '../bpf/uapi/index.ts';
import { Kernel } from '../bpf/kernel/kernel.ts';
import { VerifierError } from '../bpf/verifier/error.ts';
import { UsageError } from '../error.ts';
import { isAlternative } from './alternatives.ts';
import { attachPrograms } from './attach.ts';
import { openIterator, openMapIterator, type BatchSource, type FetchOptions } from './batch-source.ts';
import type { DataSource } from './data-source.ts';
import type { Gadget } from './gadget.ts';
import { pinsOf } from './pins.ts';
import { specToLoad } from './load-spec.ts';
import { countingSpec, quietSpec } from './rewritten-spec.ts';
import { selfVariables } from './self.ts';
import { LossCounter, type LossPlace } from './loss-counter.ts';
import type { ParamValue } from './params.ts';
import { kernelStackMap } from './kernel-stacks.ts';
import { buildIdMap, userStackMap } from './user-stacks.ts';
import { maxPerfEvent, openReader } from './reader.ts';
import type { EventRecord } from './record.ts';
import { printable } from '../bytes/printable.ts';
import { HeldEvents, judgeOf, type Judge } from './held-events.ts';
import type { PartLoad, RunPart, Verdict } from './part.ts';
import { RecordList } from './record-list.ts';

const maxBufferSize = 2 ** 30;

/** Takes events where they lie: records are lent for the time of the call. */
export interface EventSink {
  /** One event of a tracer. */
  event(source: DataSource, record: EventRecord): void;
  /** What one run of an iterator gave. */
  batch?(source: DataSource, records: RecordList): void;
  /** After a turn that had events. */
  batchEnd?(): void;
}

/** How a gadget is run; all are optional. */
export interface RunOptions extends FetchOptions {
  /** The kernel to load into; the running one unless given. It stays the caller's. */
  readonly kernel?: Kernel;
  /** Values of parameters, by their flags. */
  readonly params?: ReadonlyMap<string, ParamValue>;
  /** Events that count and are delivered; all unless given. */
  readonly filter?: (source: DataSource) => ((record: EventRecord) => boolean) | null;
  /** Goes on without programs that cannot be loaded or attached, with a notice for each. */
  readonly skipUnsupported?: boolean;
  /** Milliseconds after which it stops by itself. */
  readonly timeoutMs?: number;
  /** Events after which it stops by itself; never more are delivered. */
  readonly maxEvents?: number;
  /** Milliseconds between runs of iterators, which otherwise run once, and of looks into maps, otherwise every second. */
  readonly intervalMs?: number;
  /** Gives events of all CPUs in the order of their times where the kernel has no ring buffers, which it costs up to 5 ms. */
  readonly ordered?: boolean;
  /** How often those are made; 0 for without end. */
  readonly fetchCount?: number;
  /** What of the machine the run is joined with, asked in this order. The run closes them when it ends. */
  readonly parts?: readonly RunPart[];
  /** Bytes of events that may be held until a part knows whether they are wanted; 16 MiB unless said. */
  readonly maxHeldBytes?: number;
  readonly notice?: (message: string) => void;
  /** Makes an object that has no counter of lost events count them, see countLosses(). */
  readonly countLoss?: boolean;
  /** Bytes of each buffer that events come through, rounded up to a power of two of pages; as the gadget declares them unless given. */
  readonly bufferSize?: number;
  /**
   * Programs wake the reader for no event, and it looks this often (milliseconds): producers pay less, events come up to so much
   * later, and the buffer has to hold what comes in between. Unless given, the first event that finds the reader idle wakes it.
   */
  readonly wakeupMs?: number;
}

/** What happened to events; exact. */
export interface RunCounters {
  /** Events that came. */
  readonly received: number;
  /** Those of them that passed the filter. */
  readonly delivered: number;
  /** Events that had no room in the buffer; null where the object does not count them. */
  readonly lost: number | null;
  /** Events that the gadget itself took back. */
  readonly discarded: number;
}

/** Why a run ended. */
export type StopReason = 'stopped' | 'timeout' | 'max-events' | 'finished' | 'error';

export interface RunResult {
  readonly reason: StopReason;
  readonly counters: RunCounters;
}

interface Tracer extends LossPlace {
  readonly reader: EventSource;
  readonly record: EventRecord;
  readonly visitor: UnsafeVisitor;
}

/** Once nothing is attached any more, parts get this long to say what held events are: their own limits are shorter. */
const lastWordMs = 5000;

/**
 * One run of a gadget: loads it, attaches its programs, delivers its events, and lets go of everything at the end, however
 * it ends.
 */
export class GadgetRun {
  readonly gadget: Gadget;
  /** Resolves when the run has ended and nothing is attached any more; rejects with what a sink threw. */
  readonly done: Promise<RunResult>;
  readonly #options: RunOptions;
  readonly #kernel: Kernel;
  readonly #timers = new Set<NodeJS.Timeout>();
  #resolve: (result: RunResult) => void = () => {};
  #reject: (error: unknown) => void = () => {};
  #state: 'new' | 'running' | 'ending' | 'ended' = 'new';
  #sink: EventSink | null = null;
  #collection: Collection | null = null;
  #tracers: Tracer[] = [];
  #batches: BatchSource[] = [];
  /** Programs that parts attach. */
  readonly #ofParts = new Set<string>();
  #losses: LossCounter | null = null;
  #held: HeldEvents | null = null;
  /** Held events are to be looked at as soon as the events at hand are through. */
  #releaseSoon = false;
  #inEvents = false;
  #detached = false;
  #received = 0;
  #delivered = 0;
  #ending: StopReason | null = null;
  /** No event is taken any more: the last one asked for has come, or a sink has failed. */
  #full = false;
  #failure: { readonly error: unknown } | null = null;
  #final: RunCounters | null = null;

  constructor(gadget: Gadget, options: RunOptions = {}) {
    this.gadget = gadget;
    this.#options = options;
    const notice = options.notice;
    this.#kernel = options.kernel ?? new Kernel(notice === undefined ? {} : { onNotice: ({ message }) => notice(message) });
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** What has been counted so far, or in all once it has ended. */
  get counters(): RunCounters {
    return this.#final ?? this.#count();
  }

  get running(): boolean {
    return this.#state === 'running';
  }

  /** Programs that are attached, by `kind target`. */
  get attached(): readonly string[] {
    return this.#collection?.links.map((link) => `${link.kind} ${link.target}`) ?? [];
  }

  /**
   * Loads and attaches; events then come to `sink`. Where anything fails nothing stays behind.
   *
   * Throws UsageError for parameters that do not fit, UnsupportedError `E_GADGET_ATTACH` that names the program that cannot be
   * attached, and what loading throws.
   */
  start(sink: EventSink): this {
    if (this.#state !== 'new') throw new UsageError({ code: 'E_STARTED', what: 'this run was started before', next: 'make a new one' });
    this.#state = 'running';
    this.#sink = sink;
    try {
      this.#load();
      this.#listen(sink);
      this.#attach();
    } catch (error) {
      this.#full = true;
      this.#letGo();
      this.#state = 'ended';
      // Thrown here; a rejection that nobody waits for would end the process.
      this.done.catch(() => {});
      this.#reject(error);
      throw error;
    }
    if (this.#options.timeoutMs !== undefined) this.#after(this.#options.timeoutMs, () => this.#end('timeout'));
    // An iterator shows what is there, a map what has been collected since.
    for (const batch of this.#batches) this.#schedule(batch, batch.source.kind === 'iterator' ? 0 : batch.intervalMs);
    return this;
  }

  /**
   * Detaches everything, delivers what is still in the buffers, and ends. Events that are held get a moment for what is still
   * to be learned about them; a second call ends it at once.
   */
  stop(): void {
    if (this.#state === 'new') {
      this.#state = 'ended';
      for (const part of this.#options.parts ?? []) part.close();
      this.#resolve({ reason: 'stopped', counters: this.counters });
    } else if (this.#state === 'ending') this.#finish();
    else this.#end('stopped');
  }

  /** Leaves events in the kernel's buffers: for a sink that needs time. What does not fit there is lost, and counted. */
  pause(): void {
    for (const { reader } of this.#tracers) reader.pause();
  }

  resume(): void {
    for (const { reader } of this.#tracers) reader.resume();
  }

  [Symbol.dispose](): void {
    this.stop();
  }

  #load(): void {
    const { gadget } = this;
    gadget.params.apply(this.#options.params);
    const loads = (this.#options.parts ?? []).map((part): PartLoad => part.prepare?.(gadget, this.#kernel) ?? {});
    for (const { attaches } of loads) for (const name of attaches ?? []) this.#ofParts.add(name);
    const valueSizes = Object.assign({}, ...loads.map((load) => load.valueSizes ?? {})) as Readonly<Record<string, number>>;
    const maps = Object.assign({}, ...loads.map((load) => load.maps ?? {})) as Readonly<Record<string, BpfMap>>;
    this.#collection = this.#loadCounting(quietSpec(specToLoad(gadget, this.#kernel, valueSizes, maps), this.#kernel, this.#options), {
      mapSizes: Object.assign(this.#bufferSizes(), ...loads.map((load) => load.mapSizes ?? {})) as Record<string, number>,
      replaceMaps: maps,
      variables: Object.assign(selfVariables(gadget), ...loads.map((load) => load.variables ?? {})) as Readonly<Record<string, unknown>>,
      extraBtfs: loads.flatMap((load) => load.targetBtfs ?? []),
      tracerMaps: gadget.contract.bufferMaps,
      ...pinsOf(gadget.spec, (message) => this.#notice(message)),
      skipUnsupported: this.#options.skipUnsupported === true,
      optional: (program) => isAlternative(gadget, program),
    });
    gadget.stacks.bind(this.#collection.maps.get(kernelStackMap) ?? null);
    gadget.userStacks.bind(this.#collection.maps.get(userStackMap) ?? null, this.#collection.maps.get(buildIdMap) ?? null);
    // Types, symbols and configuration are only needed for loading: a few MB that a long run can do without.
    if (this.#options.kernel === undefined) this.#kernel.dropCaches();
  }

  /** Loads the object made to count; as it is, with a notice, where this kernel's verifier refuses that. */
  #loadCounting(spec: ObjectSpec, options: LoadOptions): Collection {
    const counting = this.#options.countLoss === true ? countingSpec(spec, this.gadget.contract) : spec;
    try {
      return loadCollection(this.#kernel, counting, options);
    } catch (error) {
      if (counting === spec || !(error instanceof VerifierError)) throw error;
      // Before about Linux 6.6 the verifier takes a record that a subprogram found to be there for one that may not be.
      const plain = loadCollection(this.#kernel, spec, options);
      this.#notice(`lost events are not counted: this kernel refuses the programs made to count them (${error.message})`);
      return plain;
    }
  }

  /** Sizes of ring buffers; perf buffers are sized when they are opened. */
  #bufferSizes(): Record<string, number> {
    const size = this.#bufferSize();
    if (size === null || !this.#kernel.ringbuf) return {};
    const rings = this.gadget.contract.tracers.filter(
      ({ map }) => namedMap(this.gadget.spec, map).type === BPF_MAP_TYPE.BPF_MAP_TYPE_RINGBUF,
    );
    return Object.fromEntries(rings.map(({ map }) => [map, size]));
  }

  #bufferSize(): number | null {
    const { bufferSize } = this.#options;
    if (bufferSize === undefined) return null;
    const page = this.#kernel.pageSize;
    if (!(bufferSize > 0 && bufferSize <= maxBufferSize)) {
      throw new UsageError({ code: 'E_BUFFER_SIZE', what: `a buffer cannot have ${bufferSize} bytes`, next: `use 1 to ${maxBufferSize}` });
    }
    return page * 2 ** Math.ceil(Math.log2(Math.max(1, bufferSize / page)));
  }

  #listen(sink: EventSink): void {
    const collection = this.#loaded();
    const parts = this.#options.parts ?? [];
    this.#held = new HeldEvents(this.#options.maxHeldBytes ?? 16 << 20);
    for (const part of parts) part.onRelease?.(() => this.#release());
    for (const declaration of this.gadget.contract.tracers) {
      const source = this.#sourceOf(declaration.name);
      const spec = namedMap(this.gadget.spec, declaration.map);
      const map = collection.map(declaration.map);
      const reader = openReader(map, spec, {
        bufferSize: this.#bufferSize(),
        ordered: this.#options.ordered === true,
        wakeupMs: this.#options.wakeupMs ?? 0,
      });
      if (map.type !== BPF_MAP_TYPE.BPF_MAP_TYPE_RINGBUF && source.size > maxPerfEvent)
        this.#notice(
          `events of ${source.name} have up to ${source.size} bytes: without ring buffers those longer than ${maxPerfEvent} are refused, and counted as lost`,
        );
      const record = source.makeRecord();
      const visitor = this.#visitor(source, reader, record, sink);
      const lostMap = declaration.lostMap === null ? null : collection.map(declaration.lostMap);
      this.#tracers.push({ reader, map: lostMap, record, visitor });
      reader.startUnsafe(visitor, () => {
        if (this.#releaseSoon) this.#release();
        this.#guard(() => sink.batchEnd?.());
      });
    }
    // Maps fill up too; what iterators show is never lost.
    const maps = this.gadget.contract.mapIterators.map(({ lostMap }) => ({
      map: lostMap === null ? null : collection.map(lostMap),
      reader: null,
    }));
    this.#losses = new LossCounter([...this.#tracers, ...maps], collection);
  }

  /** What is called for every record: nothing in it allocates, unless the event has to be held. */
  #visitor(source: DataSource, reader: EventSource, record: EventRecord, sink: EventSink): UnsafeVisitor {
    const deliver = this.#deliverer(source, sink);
    const judge = judgeOf(this.#options.parts ?? [], source);
    const held = this.#held as HeldEvents;
    const ifFull = (): void => {
      if (this.#full) reader.stop();
    };
    if (judge === null) {
      return (view, offset, length) => {
        if (this.#full) return;
        this.#received++;
        record.point(view, offset, length);
        // What came before it comes out before it.
        if (held.length > 0) held.push({ source, judge: null, deliver }, view, offset, length);
        else deliver(record);
        ifFull();
      };
    }
    const lane = { source, judge, deliver };
    return (view, offset, length) => {
      if (this.#full) return;
      this.#received++;
      record.point(view, offset, length);
      this.#inEvents = true;
      const verdict = this.#judge(judge, record);
      const holds = verdict === 'hold' || (verdict === 'show' && held.length > 0);
      // The oldest may have to go to make room, and is judged then.
      if (holds) this.#guard(() => held.push(lane, view, offset, length));
      this.#inEvents = false;
      if (verdict === 'drop') return;
      if (!holds) deliver(record);
      ifFull();
    };
  }

  #judge(judge: Judge, record: EventRecord): Verdict {
    try {
      return judge(record, false);
    } catch (error) {
      this.#fail(error);
      return 'drop';
    }
  }

  /** Gives events that are to be shown to the sink, as long as any are wanted. */
  #deliverer(source: DataSource, sink: EventSink): (record: EventRecord) => void {
    const wanted = this.#options.filter?.(source) ?? null;
    const most = this.#options.maxEvents ?? Number.POSITIVE_INFINITY;
    return (record) => {
      if (this.#full) return;
      try {
        if (wanted !== null && !wanted(record)) return;
        this.#delivered++;
        sink.event(source, record);
      } catch (error) {
        this.#fail(error);
      }
      if (this.#delivered < most) return;
      this.#full = true;
      this.#endSoon('max-events');
    };
  }

  /** Looks at held events again: a part knows more. */
  #release(): void {
    this.#releaseSoon = this.#inEvents;
    if (this.#inEvents || this.#held === null || this.#held.length === 0) return;
    this.#inEvents = true;
    this.#guard(() => this.#held?.release());
    this.#inEvents = false;
    this.#guard(() => this.#sink?.batchEnd?.());
    if (this.#state === 'ending' && this.#held.length === 0) this.#finish();
  }

  #attach(): void {
    const collection = this.#loaded();
    const { skipUnsupported } = this.#options;
    const iterated = new Set(this.gadget.contract.iterators.flatMap(({ programs }) => programs));
    let attached = attachPrograms(this.gadget, collection, {
      skipUnsupported: skipUnsupported === true,
      except: new Set([...iterated, ...this.#ofParts]),
      notice: (message) => this.#notice(message),
      pid: Number(this.#options.params?.get('pid') ?? 0) || null,
    });
    for (const part of this.#options.parts ?? []) attached += part.attach?.(collection, (link) => collection.addLink(link)) ?? 0;
    this.#openBatches(collection);
    if (attached > 0 || this.#batches.some(({ source }) => source.kind === 'iterator')) return;
    throw new UsageError({
      code: 'E_GADGET_NOTHING',
      what: 'no program of the gadget could be attached, so no event would ever come',
      where: { gadget: this.gadget.name },
    });
  }

  #openBatches(collection: Collection): void {
    const { contract } = this.gadget;
    for (const declaration of contract.iterators) {
      const batch = openIterator(collection, contract, declaration, this.#sourceOf(declaration.name), this.#options, (message) =>
        this.#notice(message),
      );
      if (batch !== null) this.#batches.push(batch);
    }
    for (const declaration of contract.mapIterators) {
      this.#batches.push(openMapIterator(collection, declaration, this.#sourceOf(declaration.name), this.#options));
    }
  }

  /** Fetches now or after the interval, and again until enough has been fetched. */
  #schedule(batch: BatchSource, delayMs: number): void {
    const fetch = (): void => {
      if (this.#state !== 'running' || this.#ending !== null) return;
      batch.remaining--;
      this.#guard(() => this.#fetch(batch));
      if (batch.remaining > 0) this.#schedule(batch, batch.intervalMs);
      else if (this.#tracers.length === 0 && this.#batches.every(({ remaining }) => remaining <= 0)) this.#endSoon('finished');
    };
    if (delayMs > 0) this.#after(delayMs, fetch);
    else fetch();
  }

  #fetch({ source, record, read }: BatchSource): void {
    const all = new RecordList(read(), source.size, record);
    const list = this.#filtered(source, all);
    this.#received += all.length;
    this.#delivered += list.length;
    this.#sink?.batch?.(source, list);
    this.#sink?.batchEnd?.();
    if (this.#delivered < (this.#options.maxEvents ?? Number.POSITIVE_INFINITY)) return;
    this.#full = true;
    this.#endSoon('max-events');
  }

  #filtered(source: DataSource, all: RecordList): RecordList {
    const wanted = this.#options.filter?.(source) ?? null;
    const judge = judgeOf(this.#options.parts ?? [], source);
    const most = (this.#options.maxEvents ?? Number.POSITIVE_INFINITY) - this.#delivered;
    if (wanted === null && judge === null && all.length <= most) return all;
    const kept: number[] = [];
    for (let i = 0; i < all.length && kept.length < most; i++) {
      const record = all.at(i);
      if ((judge === null || judge(record, true) === 'show') && (wanted === null || wanted(record))) kept.push(i);
    }
    return all.pick(kept);
  }

  #count(): RunCounters {
    const discarded = this.#tracers.reduce((sum, { reader }) => sum + reader.counters.discarded, 0);
    const lost = this.#losses === null ? 0 : this.#losses.read();
    return { received: this.#received, delivered: this.#delivered, lost, discarded };
  }

  /** Ends once the callback that found out has returned. */
  #endSoon(reason: StopReason): void {
    if (this.#ending !== null) return;
    this.#ending = reason;
    setImmediate(() => this.#end(reason));
  }

  #fail(error: unknown): void {
    this.#full = true;
    this.#failure ??= { error };
    this.#endSoon('error');
  }

  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#fail(error);
    }
  }

  #end(reason: StopReason): void {
    if (this.#state !== 'running') return;
    this.#ending ??= reason;
    this.#state = 'ending';
    try {
      this.#detach();
    } catch (error) {
      this.#failure ??= { error };
    }
    if (this.#held !== null && this.#held.length > 0 && !this.#full) this.#after(lastWordMs, () => this.#finish());
    else this.#finish();
  }

  /** Delivers what is still held, lets go of everything, and says so. */
  #finish(): void {
    if (this.#state !== 'ending') return;
    this.#state = 'ended';
    try {
      this.#letGo();
    } catch (error) {
      this.#failure ??= { error };
    }
    if (this.#failure !== null) this.#reject(this.#failure.error);
    else this.#resolve({ reason: this.#ending ?? 'stopped', counters: this.counters });
  }

  /** Detaches, so that no event comes after the last look into the buffers. */
  #detach(): void {
    if (this.#detached) return;
    this.#detached = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    attemptAll((attempt) => {
      if (this.#ending === 'stopped' || this.#ending === 'timeout') {
        for (const batch of this.#batches) if (batch.fetchOnStop) attempt(() => this.#fetch(batch));
      }
      for (const link of this.#collection?.links ?? []) attempt(() => link.close());
      for (const { reader, visitor } of this.#tracers) {
        attempt(() => {
          reader.stop();
          if (!this.#full) reader.drainUnsafe(visitor);
        });
      }
      this.#inEvents = true;
      attempt(() => this.#held?.release());
      this.#inEvents = false;
      attempt(() => this.#sink?.batchEnd?.());
    });
  }

  /** Detaches if that was not done, gives out what is held, counts, and closes. */
  #letGo(): void {
    attemptAll((attempt) => {
      attempt(() => this.#detach());
      this.#inEvents = true;
      attempt(() => this.#held?.release(true));
      this.#inEvents = false;
      attempt(() => this.#sink?.batchEnd?.());
      attempt(() => (this.#final = this.#count()));
      for (const { reader, record } of this.#tracers) {
        attempt(() => reader.close());
        record.release();
      }
      this.gadget.stacks.bind(null);
      this.gadget.userStacks.bind(null, null);
      attempt(() => this.#collection?.close());
      for (const part of this.#options.parts ?? []) attempt(() => part.close());
      if (this.#options.kernel === undefined) attempt(() => this.#kernel.close());
      this.#collection = null;
      this.#batches = [];
    });
  }

  #after(ms: number, work: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      work();
    }, ms);
    this.#timers.add(timer);
  }

  #loaded(): Collection {
    if (this.#collection === null) throw new UsageError({ code: 'E_CLOSED', what: 'this run has ended' });
    return this.#collection;
  }

  #sourceOf(name: string): DataSource {
    const source = this.gadget.sources.find((candidate) => candidate.name === name);
    if (source === undefined) throw new UsageError({ code: 'E_GADGET_SOURCE', what: `the gadget has no data source ${name}` });
    return source;
  }

  #notice(message: string): void {
    this.#options.notice?.(printable(message));
  }
}

/** Does all of it, whatever fails; then throws the first error. */
function attemptAll(work: (attempt: (step: () => void) => void) => void): void {
  const errors: unknown[] = [];
  work((step) => {
    try {
      step();
    } catch (error) {
      errors.push(error);
    }
  });
  if (errors.length > 0) throw errors[0];
}
