// Events from the kernel to a pipe as they happen, ours beside the peers: how many a second of CPU carries through a ring of
// 256 KiB as JSON, with none lost, and how long an event takes to its callback.
import { fileURLToPath } from 'node:url';
import { defaultSys } from '../src/sys/default-sys.ts';
import { maxRun, ringProducer, stopNumber, type EventProducer } from './event.ts';
import { Peer, type PeerName, type PeerPrograms } from './peer.ts';

const sys = defaultSys();
const liveRing = 256 * 1024;
/** Events of a window. */
const windowEvents = 400_000;
const sleeper = new Int32Array(new SharedArrayBuffer(4));
const child = fileURLToPath(new URL('live-child.js', import.meta.url));

function pause(ms: number): void {
  Atomics.wait(sleeper, 0, 0, ms);
}

/** Sends events as fast as there is room for them: one that finds none is sent again, so none is lost. Returns the sum of their numbers. */
function sendAll(producer: EventProducer, count: number): number {
  for (let sent = 0; sent < count;) {
    const wanted = Math.min(256, maxRun, count - sent);
    const taken = producer.run(sent, wanted);
    sent += taken;
    if (taken < wanted) pause(0.05);
  }
  return (count * (count - 1)) / 2;
}

function sendStop(producer: EventProducer): void {
  while (producer.run(stopNumber, 1) === 0) pause(0.05);
}

/** Ours on the main thread, in a worker thread that sleeps in the kernel, and in one that the main thread wakes. */
const ownSides = ['ours', 'worker', 'woken'] as const;
type OwnSide = (typeof ownSides)[number];
type Side = OwnSide | PeerName;

function commandOf(side: Side, mode: string, programs: PeerPrograms): readonly string[] | null {
  if (side === 'ours') return [process.execPath, child, mode, String(liveRing)];
  if (side === 'worker' || side === 'woken') return [process.execPath, child, `${mode}-${side}`, String(liveRing)];
  const program = programs[side];
  return program === null ? null : [program, mode];
}

/** Of each side, a value a round. */
export interface LiveResult {
  readonly perCpuSecond: Readonly<Record<Side, readonly number[]>>;
  readonly perSecond: Readonly<Record<Side, readonly number[]>>;
}

/** Events as JSON through a pipe: of each CPU second of the reader, and of each second while the producer has the other CPU. */
export async function measureLive(programs: PeerPrograms, rounds: number): Promise<LiveResult> {
  const perCpuSecond: Record<Side, number[]> = { ours: [], worker: [], woken: [], libbpf: [], cilium: [] };
  const perSecond: Record<Side, number[]> = { ours: [], worker: [], woken: [], libbpf: [], cilium: [] };
  const sides: { side: Side; producer: EventProducer; peer: Peer }[] = [];
  for (const side of ['libbpf', 'cilium', ...ownSides] as const) {
    const command = commandOf(side, 'live', programs);
    if (command === null) continue;
    const producer = ringProducer(sys, liveRing);
    sides.push({ side, producer, peer: await Peer.piped(command, producer.mapFd) });
  }
  for (let round = -2; round < rounds; round++) {
    for (const { side, producer, peer } of sides) {
      const start = performance.now();
      const expected = sendAll(producer, windowEvents);
      sendStop(producer);
      const [records = 0, sum = 0, cpu = 0] = await peer.line();
      const seconds = (performance.now() - start) / 1000;
      if (records !== windowEvents || sum !== expected) throw new Error(`${side}: ${records} records, sum ${sum}`);
      if (round < 0) continue;
      perCpuSecond[side].push((records / cpu) * 1e9);
      perSecond[side].push(records / seconds);
    }
  }
  for (const { peer } of sides) await peer.close();
  return { perCpuSecond, perSecond };
}

/** Of each side [p50, p99] in microseconds, a pair a round: events a millisecond apart, and 100 every millisecond. */
export type LatencyResult = Readonly<Record<'idle' | 'busy', Readonly<Record<OwnSide | 'libbpf', readonly (readonly [number, number])[]>>>>;

export async function measureLatency(programs: PeerPrograms, rounds: number): Promise<LatencyResult> {
  const none = (): Record<OwnSide | 'libbpf', (readonly [number, number])[]> => ({ ours: [], worker: [], woken: [], libbpf: [] });
  const result = { idle: none(), busy: none() } satisfies Record<string, Record<string, unknown[]>>;
  for (const side of ['libbpf', ...ownSides] as const) {
    const command = commandOf(side, 'latency', programs);
    if (command === null) continue;
    const producer = ringProducer(sys, liveRing);
    const peer = await Peer.piped(command, producer.mapFd);
    for (let round = -1; round < rounds; round++) {
      for (const [load, burst] of [
        ['idle', 1],
        ['busy', 100],
      ] as const) {
        let sent = 0;
        for (let i = 0; i < 300; i++) {
          sent += producer.run(sent, burst);
          pause(1);
        }
        sendStop(producer);
        const [records = 0, , , , p50 = 0, p99 = 0] = await peer.line();
        if (records !== sent) throw new Error(`${side}: ${records} records of ${sent}`);
        if (round >= 0) result[load][side].push([p50 / 1000, p99 / 1000]);
      }
    }
    await peer.close();
    producer.close();
  }
  return result;
}
