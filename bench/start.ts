// From a cold start to the first event of trace_open and to the end, and the memory it took: rawbpf beside libbpf in C with the same
// object, in turns.
//   node build/bench/start.js [ROUNDS]
// libbpf needs a mounted tracefs: it gets one in a mount namespace of its own. Something opens files all the while.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { median } from './peer.ts';

const rounds = Math.max(5, Number(process.argv[2] ?? 7));
const root = fileURLToPath(new URL('../../', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'bench-'));
const peer = join(folder, 'start-libbpf');
const flags = (process.env['LIBBPF_FLAGS'] ?? '-lbpf').split(' ');
const gcc = spawnSync('gcc', ['-O2', '-o', peer, join(root, 'bench/peers/start-libbpf.c'), ...flags], { stdio: 'inherit' });
/** The program as it is shipped, and its modules one by one. */
const cli = join(root, 'build/cli/rawbpf.cjs');
const modules = join(root, 'build/src/cli/rawbpf.js');
const run = ['run', 'trace_open', '-o', 'json', '--max-events', '1'];
const object = join(root, 'gadgets/trace_open/program.bpf.o');
const mounted = ['-m', 'sh', '-c', 'mount -t tracefs tracefs /sys/kernel/tracing && exec "$@"', 'sh'];
const sides: Readonly<Record<string, readonly string[]>> = {
  rawbpf: [process.execPath, cli, ...run],
  'without containers': [process.execPath, cli, ...run, '--no-containers'],
  'no code kept': ['env', 'RAWBPF_CODE_CACHE=off', process.execPath, cli, ...run],
  unbundled: [process.execPath, modules, ...run],
  'node alone': [process.execPath, '-e', '0'],
  ...(gcc.status === 0 ? { libbpf: ['unshare', ...mounted, peer, object, 'events'] } : {}),
};

interface Start {
  /** Milliseconds until something was written to stdout; NaN where nothing was. */
  readonly first: number;
  /** Milliseconds until the process was gone: the kernel waits for all CPUs before what was attached is detached. */
  readonly ms: number;
  /** KiB of the greatest resident set. */
  readonly kib: number;
}

function once(command: readonly string[]): Promise<Start> {
  return new Promise((resolve, reject) => {
    const start = performance.now();
    // GNU time tells what the kernel counted of the process and those it became.
    const run = spawn('/usr/bin/time', ['-f', '%M', ...command], { stdio: ['ignore', 'pipe', 'pipe'] });
    let err = '';
    let first = Number.NaN;
    run.stdout.once('data', () => (first = performance.now() - start));
    run.stdout.resume();
    run.stderr.on('data', (data: Buffer) => (err += data.toString()));
    run.on('close', (code) => {
      const kib = Number(err.trim().split('\n').at(-1));
      if (code === 0) resolve({ first, ms: performance.now() - start, kib });
      else reject(new Error(`${command.join(' ')}: ${err}`));
    });
  });
}

async function main(): Promise<void> {
  const opener = spawn('sh', ['-c', 'while :; do read -r line </etc/hostname; sleep 0.005; done'], { stdio: 'ignore' });
  try {
    const results = new Map(Object.keys(sides).map((name) => [name, { first: [] as number[], ms: [] as number[], kib: [] as number[] }]));
    for (let round = -1; round < rounds; round++) {
      for (const [name, command] of Object.entries(sides)) {
        const { first, ms, kib } = await once(command);
        if (round < 0) continue;
        results.get(name)?.first.push(first);
        results.get(name)?.ms.push(ms);
        results.get(name)?.kib.push(kib);
      }
    }
    for (const [name, { first, ms, kib }] of results) {
      const event = Number.isNaN(median(first)) ? '    -' : median(first).toFixed(0).padStart(5);
      const end = median(ms).toFixed(0).padStart(5);
      console.log(`${name.padEnd(18)} ${event} ms to the first event, ${end} to the end, ${(median(kib) / 1024).toFixed(0)} MiB at most`);
    }
  } finally {
    opener.kill();
    rmSync(folder, { recursive: true });
  }
}

void main();
