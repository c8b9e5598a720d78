// Drains a full ring buffer: this library's ways beside libbpf in C, over the same kernel records, in one run.
//   node build/bench/ring.js [--json] [ROUNDS]
// Every way counts the records and sums their numbers, and the sums must be right.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RingbufReader } from '../src/bpf/events/ringbuf-reader.ts';
import { defaultSys } from '../src/sys/default-sys.ts';
import { maxPerRun, ringbufProducer, type Producer } from '../test/bpf/events/producer.ts';

const ringSize = 16 * 1024 * 1024;
const recordSize = 64;
const rounds = Math.max(5, Number(process.argv.slice(2).find((arg) => /^\d+$/.test(arg)) ?? 9));
const sys = defaultSys();

/** What one drain found and how long it took. */
interface Drained {
  readonly records: number;
  readonly sum: number;
  readonly ns: number;
}

type Way = (producer: Producer) => Drained | Promise<Drained>;

/** Fills the ring to its last record; returns how many records it took and the sum of their numbers. */
function fill(producer: Producer): { records: number; sum: number } {
  let records = 0;
  let sum = 0;
  for (;;) {
    const taken = producer.run(records, maxPerRun);
    for (let i = 0; i < taken; i++) sum += records + i;
    records += taken;
    if (taken < maxPerRun) return { records, sum };
  }
}

function timed(work: () => { records: number; sum: number }): Drained {
  const start = process.hrtime.bigint();
  const { records, sum } = work();
  return { records, sum, ns: Number(process.hrtime.bigint() - start) };
}

/** Reads nothing but the record's number, in place. */
const unsafe: Way = (producer) => {
  const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
  const total = new Float64Array(1);
  const drained = timed(() => {
    const records = reader.drainUnsafe((view, offset) => {
      total[0] = (total[0] as number) + view.getUint32(offset, true);
    });
    return { records, sum: total[0] as number };
  });
  reader.close();
  return drained;
};

/** Through the safe cursor, in turns of the event loop. */
const cursor: Way = (producer) =>
  new Promise((resolve) => {
    const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
    let sum = 0;
    let records = 0;
    const start = process.hrtime.bigint();
    reader.start(
      (record) => {
        sum += record.u32(0);
        records++;
      },
      () => {
        if (reader.pendingBytes > 0) return;
        const ns = Number(process.hrtime.bigint() - start);
        reader.close();
        resolve({ records, sum, ns });
      },
    );
  });

/** Copies by `for await`. */
const copies: Way = async (producer) => {
  const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
  let sum = 0;
  let records = 0;
  const start = process.hrtime.bigint();
  for await (const record of reader) {
    sum += (record[0] as number) | ((record[1] as number) << 8) | ((record[2] as number) << 16) | ((record[3] as number) << 24);
    records++;
    if (records % 4096 === 0 || reader.pendingBytes === 0) {
      if (reader.pendingBytes === 0 && records === reader.counters.received) break;
    }
  }
  const ns = Number(process.hrtime.bigint() - start);
  reader.close();
  return { records, sum, ns };
};

/** libbpf's ring_buffer__consume(), in a process of its own that has the same map at descriptor 3. */
class Libbpf {
  readonly #run: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(program: string, mapFd: number) {
    this.#run = spawn(program, { stdio: ['pipe', 'pipe', 'inherit', mapFd] });
    if (this.#run.stdout === null) throw new Error('no stdout');
    this.#lines = createInterface(this.#run.stdout)[Symbol.asyncIterator]();
  }

  static build(folder: string): string | null {
    const source = fileURLToPath(new URL('../../bench/peers/ring-libbpf.c', import.meta.url));
    const program = join(folder, 'ring-libbpf');
    const flags = (process.env['LIBBPF_FLAGS'] ?? '-lbpf').split(' ');
    const gcc = spawnSync('gcc', ['-O2', '-o', program, source, ...flags], { encoding: 'utf8' });
    if (gcc.status === 0) return program;
    console.error(`libbpf is left out: ${gcc.stderr || gcc.error?.message}`);
    return null;
  }

  async drain(): Promise<Drained> {
    this.#run.stdin?.write('\n');
    const { value } = await this.#lines.next();
    const [records = 0, sum = 0, ns = 0] = String(value).split(' ').map(Number);
    return { records, sum, ns };
  }

  close(): void {
    this.#run.stdin?.end();
  }
}

function number(value: number): string {
  return value.toFixed(1).padStart(6);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

const ways: Readonly<Record<string, { readonly name: string; readonly way: Way }>> = {
  unsafe: { name: 'in place (drainUnsafe)', way: unsafe },
  cursor: { name: 'lent cursor, event loop', way: cursor },
  copies: { name: 'copies (for await)', way: copies },
};

/** Rounds of one way beside libbpf, alternating; in a process of its own, since what the JIT makes of a loop depends on all who used it. */
async function compare(way: Way, program: string | null): Promise<{ ours: number[]; libbpf: number[] }> {
  const producer = ringbufProducer(sys, ringSize, recordSize);
  const peer = program === null ? null : new Libbpf(program, producer.mapFd);
  const ours: number[] = [];
  const libbpf: number[] = [];
  for (let round = -3; round < rounds; round++) {
    for (const [drain, times] of [
      [() => way(producer), ours] as const,
      ...(peer === null ? [] : [[() => peer.drain(), libbpf] as const]),
    ]) {
      const filled = fill(producer);
      const drained = await drain();
      if (drained.records !== filled.records || drained.sum !== filled.sum) {
        throw new Error(`${drained.records} records, sum ${drained.sum}; there were ${filled.records}, ${filled.sum}`);
      }
      if (round >= 0) times.push(drained.ns / drained.records);
    }
  }
  peer?.close();
  producer.close();
  return { ours, libbpf };
}

async function main(): Promise<void> {
  const asked = /^--way=(\w+)=(.*)$/.exec(process.argv[2] ?? '');
  const chosen = ways[asked?.[1] ?? ''];
  if (chosen !== undefined) {
    console.log(JSON.stringify(await compare(chosen.way, asked?.[2] || null)));
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'bench-'));
  const program = Libbpf.build(folder) ?? '';
  const rows = Object.entries(ways).map(([key, { name }]) => {
    const run = spawnSync(process.execPath, [fileURLToPath(import.meta.url), `--way=${key}=${program}`, String(rounds)], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const { ours, libbpf } = JSON.parse(run.stdout) as { ours: number[]; libbpf: number[] };
    return {
      way: name,
      nsPerRecord: median(ours),
      best: Math.min(...ours),
      libbpf: median(libbpf),
      libbpfBest: Math.min(...libbpf),
      ratio: median(ours) / median(libbpf),
    };
  });
  rmSync(folder, { recursive: true });
  if (process.argv.includes('--json')) {
    console.log(JSON.stringify({ benchmark: 'ring', recordSize, rounds, rows }));
    return;
  }
  console.log(`a ring buffer of ${ringSize >> 20} MiB full of ${recordSize}-byte records, ${rounds} rounds; ns a record: median (best)`);
  for (const row of rows) {
    console.log(
      `${row.way.padEnd(26)} ${number(row.nsPerRecord)} (${number(row.best)})   libbpf ${number(row.libbpf)} (${number(row.libbpfBest)})   ${row.ratio.toFixed(2)} x`,
    );
  }
}

void main();
