// How long a record takes that lies in a full buffer: this library's ways beside the peers', over records of the same
// producer, in turns. Run by main.ts: each way in a process of its own, for what the JIT makes of a loop depends on all
// who used it. Times are CPU times of the whole process, which a busy machine changes least. Every way counts the records and sums their numbers, within the time that is measured.
import { openSync, writeSync } from 'node:fs';
import { PerfReader } from '../src/bpf/events/perf-reader.ts';
import { RingbufReader } from '../src/bpf/events/ringbuf-reader.ts';
import type { UnsafeBlockVisitor, UnsafeVisitor } from '../src/bpf/events/record-block.ts';
import { hostContext } from '../src/enrich/context.ts';
import { ColumnBatch } from '../src/gadget/columns.ts';
import type { ContainerFields, EventContext } from '../src/gadget/context.ts';
import type { DataSource } from '../src/gadget/data-source.ts';
import { RecordList } from '../src/gadget/record-list.ts';
import type { EventRecord } from '../src/gadget/record.ts';
import { ByteWriter } from '../src/output/byte-writer.ts';
import { compileFilter } from '../src/output/filter.ts';
import { JsonWriter } from '../src/output/json.ts';
import { arrange, compileSorting } from '../src/output/sort.ts';
import { defaultSys } from '../src/sys/default-sys.ts';
import { eventSize, eventSource, maxRun, mntns, perfProducer, ringProducer, type EventProducer } from './event.ts';
import { Peer, type Drained, type PeerName, type PeerPrograms } from './peer.ts';

const sys = defaultSys();
const ringSize = 16 * 1024 * 1024;
// Of each CPU. Filling is slow: the kernel tells of each record.
const perfPages = 256;
/** Rounds before those that count: the JIT works in the background, on a busy machine for a while. Perf buffers hold a sixteenth of a ring's records. */
const warmUpRounds = { drain: 25, json: 25, perf: 80 } as const;

/** The sum of the records' numbers: a captured variable would be a new heap number for each. */
const total = new Float64Array(1);

/** Drains what is there. */
type Drain = () => Drained | Promise<Drained>;

interface Way {
  readonly name: string;
  /** The peers' mode. */
  readonly mode: 'drain' | 'json' | 'perf';
  readonly peers: readonly PeerName[];
  open(producer: EventProducer): { drain: Drain; close(): void };
}

/** Nanoseconds of CPU of all threads, those of the JIT and the garbage collector too. */
function cpuTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) * 1000;
}

/** Times a reading of all that is there: `read` returns how many records it read, and adds their numbers to {@link total}. */
function summed(read: () => number): Drained {
  total[0] = 0;
  const start = cpuTime();
  const records = read();
  return { records, sum: total[0] ?? 0, ns: cpuTime() - start, bytes: 0 };
}

const addNumber: UnsafeVisitor = (view, offset) => {
  total[0] = (total[0] as number) + view.getUint32(offset, true);
};

function overRing(make: () => (reader: RingbufReader) => Drained | Promise<Drained>): Way['open'] {
  return (producer) => {
    const work = make();
    const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
    return { drain: () => work(reader), close: () => reader.close() };
  };
}

/** A way that takes a block at a time: `sum` returns the sum of the block's numbers. */
function byBlocks(make: () => (...block: Parameters<UnsafeBlockVisitor>) => number): Way['open'] {
  return overRing(() => {
    const sum = make();
    return (reader) =>
      summed(() =>
        reader.drainBlocksUnsafe((view, offsets, lengths, count) => {
          total[0] = (total[0] as number) + sum(view, offsets, lengths, count);
        }),
      );
  });
}

/** A way that writes lines to /dev/null: `write` writes what it has gathered of a block, and may keep it for the next. */
function written(make: (out: ByteWriter) => (...block: Parameters<UnsafeBlockVisitor>) => void): Way['open'] {
  const out = new ByteWriter();
  const fd = openSync('/dev/null', 'w');
  let bytes = 0;
  const flush = (): void => {
    bytes += out.length;
    writeSync(fd, out.bytes, 0, out.length);
    out.length = 0;
  };
  return overRing(() => {
    const write = make(out);
    return (reader) => {
      bytes = 0;
      const drained = summed(() => {
        const records = reader.drainBlocksUnsafe((view, offsets, lengths, count) => {
          let sum = 0;
          for (let i = 0; i < count; i++) sum += view.getUint32(offsets[i] as number, true);
          total[0] = (total[0] as number) + sum;
          write(view, offsets, lengths, count);
          if (out.length >= 32768) flush();
        });
        flush();
        return records;
      });
      return { ...drained, bytes };
    };
  });
}

/** JSON lines of a source's events, one after the other. */
function lines(make: () => { source: DataSource; wanted?: (record: EventRecord) => boolean }): Way['open'] {
  return written((out) => {
    const { source, wanted } = make();
    const record = source.makeRecord();
    const writer = new JsonWriter(source);
    return (view, offsets, lengths, count) => {
      for (let i = 0; i < count; i++) {
        record.point(view, offsets[i] as number, lengths[i] as number);
        if (wanted === undefined || wanted(record)) writer.write(out, record);
      }
    };
  });
}

const both = ['libbpf', 'cilium'] as const;

/** What can be measured, by the name it has on the command line. */
export const ways: Readonly<Record<string, Way>> = {
  raw: {
    name: 'in place, the number of each record read (drainUnsafe)',
    mode: 'drain',
    peers: both,
    open: overRing(() => (reader) => summed(() => reader.drainUnsafe(addNumber))),
  },
  blocks: {
    name: 'in place, a block at a time (drainBlocksUnsafe)',
    mode: 'drain',
    peers: both,
    open: byBlocks(() => (view, offsets, _lengths, count) => {
      let sum = 0;
      for (let i = 0; i < count; i++) sum += view.getUint32(offsets[i] as number, true);
      return sum;
    }),
  },
  cursor: {
    name: 'lent cursor, from the event loop (start)',
    mode: 'drain',
    peers: both,
    open: overRing(
      () => (reader) =>
        new Promise((resolve) => {
          let sum = 0;
          let records = 0;
          const start = cpuTime();
          reader.start(
            (record) => {
              sum += record.u32(0);
              records++;
            },
            () => {
              if (reader.pendingBytes > 0) return;
              const ns = cpuTime() - start;
              reader.stop();
              resolve({ records, sum, ns, bytes: 0 });
            },
          );
        }),
    ),
  },
  copies: {
    name: 'copies (for await)',
    mode: 'drain',
    peers: both,
    open: overRing(() => async (reader) => {
      let sum = 0;
      let records = 0;
      const before = reader.counters.received;
      const start = cpuTime();
      for await (const record of reader) {
        sum += (record[0] as number) | ((record[1] as number) << 8) | ((record[2] as number) << 16) | ((record[3] as number) << 24);
        records++;
        if (reader.pendingBytes === 0 && records === reader.counters.received - before) break;
      }
      return { records, sum, ns: cpuTime() - start, bytes: 0 };
    }),
  },
  columns: {
    name: 'every field into a typed array of its own (ColumnBatch)',
    mode: 'drain',
    peers: both,
    open: byBlocks(() => {
      const batch = new ColumnBatch(eventSource(sys));
      const numbers = batch.column('number').values as BigUint64Array;
      const low = new Uint32Array(numbers.buffer);
      return (view, offsets, lengths, count) => {
        batch.read(view, offsets, lengths, count);
        let sum = 0;
        for (let i = 0; i < batch.length; i++) sum += low[i * 2] as number;
        return sum;
      };
    }),
  },
  objects: {
    name: 'every field decoded into an object',
    mode: 'drain',
    peers: both,
    open: overRing(() => {
      const source = eventSource(sys);
      const record = source.makeRecord();
      return (reader) =>
        summed(() =>
          reader.drainUnsafe((view, offset, length) => {
            const event = source.decode(record.point(view, offset, length));
            total[0] = (total[0] as number) + Number(event['number']);
          }),
        );
    }),
  },
  json: { name: 'JSON lines, written to /dev/null', mode: 'json', peers: both, open: lines(() => ({ source: eventSource(sys) })) },
  perf: {
    name: 'perf buffer, in place (drainUnsafe)',
    mode: 'perf',
    peers: both,
    open: (producer) => {
      const reader = new PerfReader(sys, producer.mapFd, producer.maxEntries, { bytesPerCpu: perfPages * 4096 });
      return { drain: () => summed(() => reader.drainUnsafe(addNumber)), close: () => reader.close() };
    },
  },
};

/** A pod, as events tell of it. */
const pod: ContainerFields = {
  serial: 1,
  runtime: {
    runtimeName: 'containerd',
    containerName: 'web',
    containerId: 'f0e1d2c3b4a5968778695a4b3c2d1e0ff0e1d2c3b4a5968778695a4b3c2d1e0f',
    containerPid: 4242,
    containerImageName: 'example/web:1.2',
    containerImageDigest: `sha256:${'ab'.repeat(32)}`,
    containerStartedAt: '2026-01-02T03:04:05.678901234Z',
    innerContainerId: '',
  },
  k8s: {
    node: 'node-1',
    namespace: 'shop',
    podName: 'web-6d4cf56db6-x7k2p',
    containerName: 'web',
    podLabels: 'app=web,pod-template-hash=6d4cf56db6',
    hostnetwork: false,
    owner: { kind: 'Deployment', name: 'web' },
  },
};

/** A context that answers at once: what is left is decoding and JSON. */
function answered(): EventContext {
  return {
    ...hostContext(sys),
    clock: {
      toEpoch(_high, low, into) {
        into.seconds = 1_700_000_000;
        into.nanoseconds = low % 1e9;
      },
    },
    ids: { user: () => 'root', group: () => 'root' },
    containers: { columns: 'kubernetes', version: 1, byMntns: () => pod, byNetns: () => null },
  };
}

/** The clock and the users of this machine, and containers by their mount namespaces. */
function lookedUp(): EventContext {
  const known = new Map<number, ContainerFields>([[mntns, pod]]);
  return hostContext(sys, {
    containers: { columns: 'kubernetes', version: 1, byMntns: (inode) => known.get(inode) ?? null, byNetns: () => null },
  });
}

const filterRules = 'pid>=1000,comm!=bash';

/** The way of an event to its line, with more and more of what `rawbpf run` does; without peers, in comparison with the first. */
export const chain: Readonly<Record<string, Way>> = {
  line: {
    name: 'decode + JSON alone: 28 fields, 800 bytes, names that are known',
    mode: 'drain',
    peers: [],
    open: lines(() => ({ source: eventSource(sys, answered()) })),
  },
  lookups: {
    name: '+ time, user, group, container and pod looked up',
    mode: 'drain',
    peers: [],
    open: lines(() => ({ source: eventSource(sys, lookedUp()) })),
  },
  filter: {
    name: '+ a filter on a number and a text',
    mode: 'drain',
    peers: [],
    open: lines(() => {
      const source = eventSource(sys, lookedUp());
      return { source, wanted: compileFilter(source, filterRules) };
    }),
  },
  sort: {
    name: '+ sorted by a text and a number, 227 at a time',
    mode: 'drain',
    peers: [],
    open: written((out) => {
      const source = eventSource(sys, lookedUp());
      const wanted = compileFilter(source, filterRules);
      const sorting = compileSorting(source, 'comm,-pid');
      const writer = new JsonWriter(source);
      const record = source.makeRecord();
      // Records of one size, none discarded: they lie at equal distances, as those of an iterator do.
      const stride = eventSize + 8;
      return (view, offsets, _lengths, count) => {
        const list = new RecordList(new Uint8Array(view.buffer, offsets[0], stride * count), stride, record);
        const kept: number[] = [];
        for (let i = 0; i < count; i++) if (wanted(record.point(view, offsets[i] as number, eventSize))) kept.push(i);
        for (const each of arrange(list.pick(kept), sorting)) writer.write(out, each);
      };
    }),
  },
};

/** Fills the buffer to its last record; returns how many records it took and the sum of their numbers. */
function fill(producer: EventProducer): { records: number; sum: number } {
  let records = 0;
  let sum = 0;
  for (;;) {
    const taken = producer.run(records, maxRun);
    for (let i = 0; i < taken; i++) sum += records + i;
    records += taken;
    if (taken < maxRun) return { records, sum };
  }
}

/** Times of one way and of each peer, in nanoseconds a record, a value for each round. */
export type DrainTimes = Readonly<Record<'ours' | PeerName, readonly number[]>>;

/** Rounds of one way and of its peers, in turns, each after the buffer has been filled anew. */
export async function measure(key: string, programs: PeerPrograms, rounds: number): Promise<DrainTimes> {
  const way = ways[key] ?? chain[key];
  if (way === undefined) throw new Error(`no way ${key}`);
  const times: Record<'ours' | PeerName, number[]> = { ours: [], libbpf: [], cilium: [] };
  // Everybody has a buffer of his own, mapped once: the kernel writes the same into each.
  const size = way.peers.length === 0 ? ringSize / 4 : ringSize;
  const open = (): EventProducer => (way.mode === 'perf' ? perfProducer(sys) : ringProducer(sys, size));
  const runners: { name: 'ours' | PeerName; producer: EventProducer; drain(count: number): Promise<Drained>; close(): unknown }[] = [];
  for (const name of way.peers) {
    const program = programs[name];
    if (program === null) continue;
    const producer = open();
    const peer = await Peer.start(program, [way.mode, String(perfPages)], producer.mapFd);
    runners.push({ name, producer, drain: (count) => peer.drain(count), close: () => peer.close() });
  }
  const ownProducer = open();
  const own = way.open(ownProducer);
  runners.push({ name: 'ours', producer: ownProducer, drain: async () => await own.drain(), close: () => own.close() });
  const bytes = new Set<number>();
  for (let round = -warmUpRounds[way.mode]; round < rounds; round++) {
    for (const runner of runners) {
      const { name } = runner;
      const filled = fill(runner.producer);
      const drained = await runner.drain(filled.records);
      if (drained.records !== filled.records || drained.sum !== filled.sum) {
        throw new Error(`${name}: ${drained.records} records, sum ${drained.sum}; there were ${filled.records}, sum ${filled.sum}`);
      }
      bytes.add(drained.bytes / drained.records);
      if (round >= 0) times[name].push(drained.ns / drained.records);
    }
  }
  for (const runner of runners) await runner.close();
  return times;
}
