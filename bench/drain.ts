// How long a record takes that lies in a full buffer: this library's ways beside the peers', over records of the same
// producer, in turns. Run by main.ts: each way in a process of its own, for what the JIT makes of a loop depends on all
// who used it. Times are CPU times of the whole process, which a busy machine changes least. Every way counts the records and sums their numbers, within the time that is measured.
import { openSync, writeSync } from 'node:fs';
import { PerfReader } from '../src/bpf/events/perf-reader.ts';
import { RingbufReader } from '../src/bpf/events/ringbuf-reader.ts';
import { ColumnBatch } from '../src/gadget/columns.ts';
import { ByteWriter } from '../src/output/byte-writer.ts';
import { JsonWriter } from '../src/output/json.ts';
import { defaultSys } from '../src/sys/default-sys.ts';
import { eventSource, maxRun, perfProducer, ringProducer, type EventProducer } from './event.ts';
import { Peer, type Drained, type PeerName, type PeerPrograms } from './peer.ts';

const sys = defaultSys();
const ringSize = 16 * 1024 * 1024;
// Of each CPU. Filling is slow: the kernel tells of each record.
const perfPages = 256;
/** Rounds before those that count: the JIT works in the background, on a busy machine for a while. */
const warmUp = 25;

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

function timed(work: () => { records: number; sum: number; bytes?: number }): Drained {
  const start = cpuTime();
  const { records, sum, bytes = 0 } = work();
  return { records, sum, bytes, ns: cpuTime() - start };
}

function overRing(make: () => (reader: RingbufReader) => Drained | Promise<Drained>): Way['open'] {
  return (producer) => {
    const work = make();
    const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
    return { drain: () => work(reader), close: () => reader.close() };
  };
}

const both = ['libbpf', 'cilium'] as const;

/** What can be measured, by the name it has on the command line. */
export const ways: Readonly<Record<string, Way>> = {
  raw: {
    name: 'in place, the number of each record read (drainUnsafe)',
    mode: 'drain',
    peers: both,
    open: overRing(() => {
      return (reader) =>
        timed(() => {
          total[0] = 0;
          const records = reader.drainUnsafe((view, offset) => {
            total[0] = (total[0] as number) + view.getUint32(offset, true);
          });
          return { records, sum: total[0] ?? 0 };
        });
    }),
  },
  blocks: {
    name: 'in place, a block at a time (drainBlocksUnsafe)',
    mode: 'drain',
    peers: both,
    open: overRing(() => {
      return (reader) =>
        timed(() => {
          total[0] = 0;
          const records = reader.drainBlocksUnsafe((view, offsets, _lengths, count) => {
            let sum = 0;
            for (let i = 0; i < count; i++) sum += view.getUint32(offsets[i] as number, true);
            total[0] = (total[0] as number) + sum;
          });
          return { records, sum: total[0] ?? 0 };
        });
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
    open: overRing(() => {
      const batch = new ColumnBatch(eventSource(sys));
      const numbers = batch.column('number').values as BigUint64Array;
      const low = new Uint32Array(numbers.buffer);
      return (reader) =>
        timed(() => {
          total[0] = 0;
          const records = reader.drainBlocksUnsafe((view, offsets, lengths, count) => {
            batch.read(view, offsets, lengths, count);
            let sum = 0;
            for (let i = 0; i < batch.length; i++) sum += low[i * 2] as number;
            total[0] = (total[0] as number) + sum;
          });
          return { records, sum: total[0] ?? 0 };
        });
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
        timed(() => {
          total[0] = 0;
          const records = reader.drainUnsafe((view, offset, length) => {
            const event = source.decode(record.point(view, offset, length));
            total[0] = (total[0] as number) + Number(event['number']);
          });
          return { records, sum: total[0] ?? 0 };
        });
    }),
  },
  json: {
    name: 'JSON lines, written to /dev/null',
    mode: 'json',
    peers: both,
    open: overRing(() => {
      const source = eventSource(sys);
      const record = source.makeRecord();
      const writer = new JsonWriter(source);
      const out = new ByteWriter();
      const fd = openSync('/dev/null', 'w');
      return (reader) =>
        timed(() => {
          total[0] = 0;
          let bytes = 0;
          const flush = (): void => {
            bytes += out.length;
            writeSync(fd, out.bytes, 0, out.length);
            out.length = 0;
          };
          const records = reader.drainUnsafe((view, offset, length) => {
            total[0] = (total[0] as number) + view.getUint32(offset, true);
            writer.write(out, record.point(view, offset, length));
            if (out.length >= 65536) flush();
          });
          flush();
          return { records, sum: total[0] ?? 0, bytes };
        });
    }),
  },
  perf: {
    name: 'perf buffer, in place (drainUnsafe)',
    mode: 'perf',
    peers: both,
    open: (producer) => {
      const reader = new PerfReader(sys, producer.mapFd, producer.maxEntries, { bytesPerCpu: perfPages * 4096 });
      const drain: Drain = () =>
        timed(() => {
          total[0] = 0;
          const records = reader.drainUnsafe((view, offset) => {
            total[0] = (total[0] as number) + view.getUint32(offset, true);
          });
          return { records, sum: total[0] ?? 0 };
        });
      return { drain, close: () => reader.close() };
    },
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
  const way = ways[key];
  if (way === undefined) throw new Error(`no way ${key}`);
  const times: Record<'ours' | PeerName, number[]> = { ours: [], libbpf: [], cilium: [] };
  // Everybody has a buffer of his own, mapped once: the kernel writes the same into each.
  const open = (): EventProducer => (way.mode === 'perf' ? perfProducer(sys) : ringProducer(sys, ringSize));
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
  for (let round = -warmUp; round < rounds; round++) {
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
