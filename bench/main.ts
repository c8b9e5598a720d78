// npm run bench [-- --rounds N] [--only NAME,...] [--json FILE]
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chain, measure, ways, type DrainTimes } from './drain.ts';
import { measureLatency, measureLive, type LatencyResult, type LiveResult } from './live.ts';
import { buildPeers, median, type PeerPrograms } from './peer.ts';

function option(name: string): string | null {
  const at = process.argv.indexOf(name);
  return at < 0 ? null : (process.argv[at + 1] ?? null);
}

function part(args: readonly string[]): unknown {
  const run = spawnSync(process.execPath, [fileURLToPath(import.meta.url), ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (run.status !== 0) throw new Error(`${args[1]} failed`);
  return JSON.parse(run.stdout);
}

const ns = (value: number): string => value.toFixed(1).padStart(7);

function drains(programs: PeerPrograms, rounds: number, only: readonly string[] | null): unknown[] {
  const rows: unknown[] = [];
  for (const [key, way] of Object.entries(ways)) {
    if (only !== null && !only.includes(key)) continue;
    const times = part(['--part', key, '--peers', JSON.stringify(programs), '--rounds', String(rounds)]) as DrainTimes;
    const [ours, libbpf, cilium] = [median(times.ours), median(times.libbpf), median(times.cilium)];
    rows.push({ row: key, what: way.name, ours, libbpf, cilium });
    console.log(
      `${key.padEnd(8)} ${ns(ours)} ns   libbpf ${ns(libbpf)} (${(ours / libbpf).toFixed(2)} x)   cilium/ebpf ${ns(cilium)} (${(ours / cilium).toFixed(2)} x)   ${way.name}`,
    );
  }
  return rows;
}

/** What each step between an event and its line costs, beside the plain line of the same records. */
function steps(programs: PeerPrograms, rounds: number, only: readonly string[] | null): unknown[] {
  if (only !== null && !only.includes('chain')) return [];
  const rows: { row: string; what: string; ours: number; ratio: number }[] = [];
  for (const [key, way] of Object.entries(chain)) {
    const times = part(['--part', key, '--peers', JSON.stringify(programs), '--rounds', String(rounds)]) as DrainTimes;
    const ours = median(times.ours);
    const ratio = ours / (rows[0]?.ours ?? ours);
    rows.push({ row: `chain.${key}`, what: way.name, ours, ratio });
    console.log(`chain    ${ns(ours)} ns   ${ratio.toFixed(2)} x   ${way.name}`);
  }
  return rows;
}

function thousands(value: number): string {
  return `${(value / 1000).toFixed(0)} k`;
}

function of(pairs: readonly (readonly [number, number])[], which: 0 | 1): number {
  return median(pairs.map((pair) => pair[which]));
}

/** The parts that are about events as they happen. */
function live(programs: PeerPrograms, rounds: number, only: readonly string[] | null): unknown[] {
  const rows: unknown[] = [];
  const run = (name: string): unknown => part(['--part', name, '--peers', JSON.stringify(programs), '--rounds', String(rounds)]);
  if (only === null || only.includes('live')) {
    const result = run('live') as LiveResult;
    for (const [row, sides] of Object.entries(result)) {
      const [ours, libbpf, cilium] = [median(sides.ours), median(sides.libbpf), median(sides.cilium)];
      const [worker, woken] = [median(sides.worker), median(sides.woken)];
      rows.push({ row: `live.${row}`, what: 'events as JSON through 256 KiB and a pipe, none lost', ours, worker, woken, libbpf, cilium });
      console.log(
        `live     ${thousands(ours)} events ${row}   libbpf ${thousands(libbpf)} (${(ours / libbpf).toFixed(2)} x)   cilium/ebpf ${thousands(cilium)} (${(ours / cilium).toFixed(2)} x)`,
      );
      console.log(
        `live     in a worker thread that sleeps in the kernel ${thousands(worker)} (${(worker / ours).toFixed(2)} of the main thread), that the main thread wakes ${thousands(woken)} (${(woken / ours).toFixed(2)})`,
      );
    }
  }
  if (only === null || only.includes('latency')) {
    const result = run('latency') as LatencyResult;
    for (const [load, { ours, worker, woken, libbpf }] of Object.entries(result)) {
      const [p50, p99, peer50, peer99] = [of(ours, 0), of(ours, 1), of(libbpf, 0), of(libbpf, 1)];
      rows.push({
        row: `latency.${load}`,
        what: 'microseconds from the event to its callback',
        ours: [p50, p99],
        worker: [of(worker, 0), of(worker, 1)],
        woken: [of(woken, 0), of(woken, 1)],
        libbpf: [peer50, peer99],
      });
      console.log(
        `latency  ${load}: p50 ${p50.toFixed(0)} us, p99 ${p99.toFixed(0)} us   libbpf p50 ${peer50.toFixed(0)} us (${(p50 / peer50).toFixed(2)} x), p99 ${peer99.toFixed(0)} us (${(p99 / peer99).toFixed(2)} x)`,
      );
      console.log(
        `latency  ${load}: in a worker thread that sleeps in the kernel p50 ${of(worker, 0).toFixed(0)} us, p99 ${of(worker, 1).toFixed(0)} us; that the main thread wakes p50 ${of(woken, 0).toFixed(0)} us, p99 ${of(woken, 1).toFixed(0)} us`,
      );
    }
  }
  return rows;
}

async function main(): Promise<void> {
  const rounds = Math.max(5, Number(option('--rounds') ?? 9));
  const wanted = option('--part');
  if (wanted !== null) {
    const programs = JSON.parse(option('--peers') ?? '') as PeerPrograms;
    const result =
      wanted === 'live'
        ? await measureLive(programs, rounds)
        : wanted === 'latency'
          ? await measureLatency(programs, rounds)
          : await measure(wanted, programs, rounds);
    console.log(JSON.stringify(result));
    // Pipes of peers may still be open.
    process.exit();
  }
  const folder = mkdtempSync(join(tmpdir(), 'bench-'));
  try {
    const programs = buildPeers(folder);
    const only = option('--only')?.split(',') ?? null;
    const rows = [...drains(programs, rounds, only), ...steps(programs, rounds, only), ...live(programs, rounds, only)];
    const file = option('--json');
    if (file !== null) writeFileSync(file, `${JSON.stringify({ node: process.version, rounds, rows }, null, 2)}\n`);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

void main();
