// `rawbpf run` under a steady flood of events: memory, descriptors and CPU time as it goes, and whether every event is accounted for.
//   node build/bench/flood.js [--rate EVENTS/S] [--seconds N] [--sample SECONDS] [-- FLAGS OF rawbpf run]
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { floodObject, maxFlood, openFlood, type Flood } from '../test/support/flood.ts';
import { median } from './peer.ts';

function option(name: string, otherwise: number): number {
  const at = process.argv.indexOf(name);
  return at < 0 ? otherwise : Number(process.argv[at + 1]);
}

const rate = option('--rate', 50_000);
const seconds = option('--seconds', 60);
const sampleMs = option('--sample', Math.max(1, seconds / 30)) * 1000;
const dashes = process.argv.indexOf('--');
const extra = dashes < 0 ? [] : process.argv.slice(dashes + 1);
/** Events are sent so often. */
const tickMs = 10;

interface Sample {
  readonly second: number;
  readonly mib: number;
  readonly fds: number;
  readonly cpuSeconds: number;
}

function sampleOf(pid: number, start: number): Sample {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return {
    second: (performance.now() - start) / 1000,
    mib: Number(/^VmRSS:\s*(\d+)/m.exec(status)?.[1] ?? 0) / 1024,
    fds: readdirSync(`/proc/${pid}/fd`).length,
    // utime and stime (proc(5)) in ticks of 10 ms.
    cpuSeconds: (Number(stat[11]) + Number(stat[12])) / 100,
  };
}

async function opened(pid: number): Promise<Flood> {
  for (const end = performance.now() + 60_000; performance.now() < end && existsSync(`/proc/${pid}/fdinfo`); await pause(50)) {
    const flood = openFlood(pid);
    if (flood !== null) return flood;
  }
  throw new Error('the gadget did not start');
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function report(samples: readonly Sample[]): void {
  const [first, last] = [samples[0], samples.at(-1)];
  if (first === undefined || last === undefined) return;
  const sixth = Math.ceil(samples.length / 6);
  const parts = Array.from({ length: 6 }, (_, i) => samples.slice(i * sixth, (i + 1) * sixth)).filter((part) => part.length > 0);
  const means = parts.map((part) => (part.reduce((sum, { mib }) => sum + mib, 0) / part.length).toFixed(1));
  const half = samples.slice(samples.length >> 1);
  const meanSecond = half.reduce((sum, { second }) => sum + second, 0) / half.length;
  const meanMib = half.reduce((sum, { mib }) => sum + mib, 0) / half.length;
  const covariance = half.reduce((sum, { second, mib }) => sum + (second - meanSecond) * (mib - meanMib), 0);
  const variance = half.reduce((sum, { second }) => sum + (second - meanSecond) ** 2, 0);
  const most = Math.max(...samples.map(({ mib }) => mib));
  console.log(
    `resident MiB: median ${median(samples.map(({ mib }) => mib)).toFixed(1)}, at most ${most.toFixed(1)}; means of sixths ${means.join(' ')}; ` +
      `slope of the last half ${((covariance / variance) * 60).toFixed(2)} MiB a minute`,
  );
  const fds = samples.map((sample) => sample.fds);
  const cpu = (last.cpuSeconds - first.cpuSeconds) / (last.second - first.second);
  console.log(`descriptors: ${Math.min(...fds)} to ${Math.max(...fds)}; CPU: ${(cpu * 100).toFixed(1)} % of one`);
}

async function main(): Promise<void> {
  const bundled = fileURLToPath(new URL('../cli/rawbpf.cjs', import.meta.url));
  const program = existsSync(bundled) ? bundled : fileURLToPath(new URL('../src/cli/rawbpf.js', import.meta.url));
  const reader = spawn(process.execPath, [program, 'run', floodObject, '-o', 'json', ...extra], { stdio: ['ignore', 'pipe', 'pipe'] });
  const counter = spawn('wc', ['-l'], { stdio: [reader.stdout, 'pipe', 'inherit'] });
  reader.stdout.destroy();
  const [told, counted] = [text(reader.stderr), text(counter.stdout)];
  const { pid } = reader;
  if (pid === undefined) throw new Error('no process');
  process.once('exit', () => reader.kill());
  const flood = await opened(pid).catch(async (error: unknown) => {
    reader.kill();
    console.error(await told);
    throw error;
  });
  const samples: Sample[] = [];
  const start = performance.now();
  const sampling = setInterval(() => samples.push(sampleOf(pid, start)), sampleMs);
  let attempts = 0;
  let taken = 0;
  for (let now = 0; now < seconds * 1000; now = performance.now() - start) {
    // As many as are due: a turn that comes late makes up for it.
    for (const due = Math.floor((now * rate) / 1000); attempts < due;) {
      const count = Math.min(maxFlood, due - attempts);
      taken += flood.run(attempts, count);
      attempts += count;
    }
    await pause(tickMs);
  }
  const took = (performance.now() - start) / 1000;
  clearInterval(sampling);
  flood.close();
  reader.kill('SIGINT');
  const summary = (await told).trim().split('\n').at(-1) ?? '';
  const lines = (await counted).trim();
  console.log(
    `${attempts} events attempted in ${took.toFixed(1)} s: ${(attempts / took).toFixed(0)} a second; ${taken} found room; ${lines} lines`,
  );
  console.log(summary);
  report(samples);
  const [received = Number.NaN, lost = Number.NaN] = (/(\d+) received, (\d+) lost/.exec(summary) ?? []).slice(1).map(Number);
  if (received + lost !== attempts || received !== taken || Number(lines) !== received) {
    console.log('NOT ACCOUNTED FOR');
    process.exitCode = 1;
  }
}

void main();
