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
import { attemptAll } from '../bpf/undo.ts';
import { openIterator, openMapIterator, type BatchSource } from './batch-source.ts';
import type { DataSource } from './data-source.ts';
import { Delivery } from './delivery.ts';
import type { Gadget } from './gadget.ts';
import { pinsOf } from './pins.ts';
import { specToLoad } from './load-spec.ts';
import { countingSpec, quietSpec } from './rewritten-spec.ts';
import { selfVariables } from './self.ts';
import { LossCounter, type LossPlace } from './loss-counter.ts';
import { kernelStackMap } from './kernel-stacks.ts';
import { buildIdMap, userStackMap } from './user-stacks.ts';
import { missedRuns, type MissedRuns } from './missed-runs.ts';
import { SizeCheck, type Misfits } from './misfits.ts';
import { maxPerfEvent, openReader } from './reader.ts';
import type { EventRecord } from './record.ts';
import { printable } from '../bytes/printable.ts';
import type { PartLoad } from './part.ts';
import { RecordList } from './record-list.ts';
import type { EventSink, RunCounters, RunOptions, RunResult, StopReason } from './run-options.ts';

const maxBufferSize = 2 ** 30;
/** Node's timers fire at once where they are told more. */
const longestTimerMs = 2 ** 31 - 1;

interface Tracer extends LossPlace {
  readonly reader: EventSource;
  readonly record: EventRecord;
  readonly visitor: UnsafeVisitor;
  readonly sizes: SizeCheck;
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
  #delivery: Delivery | null = null;
  #collection: Collection | null = null;
  #tracers: Tracer[] = [];
  #batches: BatchSource[] = [];
  /** Programs that parts attach. */
  readonly #ofParts = new Set<string>();
  #losses: LossCounter | null = null;
  #detached = false;
  #ending: StopReason | null = null;
  #failure: { readonly error: unknown } | null = null;
  #final: RunCounters | null = null;
  #missed: readonly MissedRuns[] | null = null;

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

  /** Programs that the kernel has not run when it should have, so far or in all. */
  get missed(): readonly MissedRuns[] {
    return this.#missed ?? (this.#collection === null ? [] : missedRuns(this.#collection));
  }

  /** Events whose size did not fit their struct, so far or in all. */
  get misfits(): readonly Misfits[] {
    return this.#tracers.flatMap(({ sizes }) => sizes.misfits);
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
    this.#delivery = new Delivery(this.#options, sink, (reason) => this.#endSoon(reason));
    try {
      this.#load();
      this.#listen(this.#delivery);
      this.#attach();
    } catch (error) {
      this.#delivery.close();
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
      this.#resolve({ reason: 'stopped', counters: this.counters, missed: this.missed, misfits: [] });
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
    this.#collection.forgetLinking();
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

  #listen(delivery: Delivery): void {
    const collection = this.#loaded();
    for (const part of this.#options.parts ?? []) {
      part.onRelease?.(() => {
        if (delivery.release() && this.#state === 'ending' && delivery.holding === 0) this.#finish();
      });
    }
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
      const sizes = new SizeCheck(source, map.type !== BPF_MAP_TYPE.BPF_MAP_TYPE_RINGBUF, (message) => this.#notice(message));
      const visitor = delivery.visitor(source, reader, record, sizes);
      const lostMap = declaration.lostMap === null ? null : collection.map(declaration.lostMap);
      this.#tracers.push({ reader, map: lostMap, record, visitor, sizes });
      reader.startUnsafe(visitor, () => delivery.turnEnd());
    }
    // Maps fill up too; what iterators show is never lost.
    const maps = this.gadget.contract.mapIterators.map(({ lostMap }) => ({
      map: lostMap === null ? null : collection.map(lostMap),
      reader: null,
    }));
    this.#losses = new LossCounter([...this.#tracers, ...maps], collection);
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
      this.#delivery?.guard(() => this.#fetch(batch));
      // At least a turn of the event loop later: others want one, too.
      if (batch.remaining > 0) this.#schedule(batch, Math.max(1, batch.intervalMs));
      else if (this.#tracers.length === 0 && this.#batches.every(({ remaining }) => remaining <= 0)) this.#endSoon('finished');
    };
    if (delayMs > 0) this.#after(delayMs, fetch);
    else fetch();
  }

  #fetch({ source, record, read }: BatchSource): void {
    this.#delivery?.batch(source, new RecordList(read(), source.size, record));
  }

  #count(): RunCounters {
    const discarded = this.#tracers.reduce((sum, { reader }) => sum + reader.counters.discarded, 0);
    const lost = this.#losses === null ? 0 : this.#losses.read();
    return { received: this.#delivery?.received ?? 0, delivered: this.#delivery?.delivered ?? 0, lost, discarded };
  }

  /** Ends once the callback that found out has returned. */
  #endSoon(reason: StopReason): void {
    if (this.#ending !== null) return;
    this.#ending = reason;
    setImmediate(() => this.#end(reason));
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
    const delivery = this.#delivery;
    if (delivery !== null && delivery.holding > 0 && !delivery.full) this.#after(lastWordMs, () => this.#finish());
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
    const failure = this.#delivery?.failure ?? this.#failure;
    if (failure !== null) this.#reject(failure.error);
    else this.#resolve({ reason: this.#ending ?? 'stopped', counters: this.counters, missed: this.missed, misfits: this.misfits });
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
          if (this.#delivery?.full === false) reader.drainUnsafe(visitor);
        });
      }
      attempt(() => this.#delivery?.releaseNow(false));
    });
  }

  /** Detaches if that was not done, gives out what is held, counts, and closes. */
  #letGo(): void {
    attemptAll((attempt) => {
      attempt(() => this.#detach());
      attempt(() => this.#delivery?.releaseNow(true));
      attempt(() => (this.#final = this.#count()));
      attempt(() => (this.#missed = this.missed));
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
    const now = Math.min(ms, longestTimerMs);
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      if (ms > now) this.#after(ms - now, work);
      else work();
    }, now);
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
