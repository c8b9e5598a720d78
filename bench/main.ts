// npm run bench [-- --rounds N] [--only NAME,...] [--json FILE]
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { measure, ways, type DrainTimes } from './drain.ts';
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

async function main(): Promise<void> {
  const rounds = Math.max(5, Number(option('--rounds') ?? 9));
  const wanted = option('--part');
  if (wanted !== null) {
    const programs = JSON.parse(option('--peers') ?? '') as PeerPrograms;
    console.log(JSON.stringify(await measure(wanted, programs, rounds)));
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'bench-'));
  try {
    const programs = buildPeers(folder);
    const rows = drains(programs, rounds, option('--only')?.split(',') ?? null);
    const file = option('--json');
    if (file !== null) writeFileSync(file, `${JSON.stringify({ node: process.version, rounds, rows }, null, 2)}\n`);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

void main();
