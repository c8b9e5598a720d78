import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { root } from '../support/examples.ts';

// Slow machines take their time.
t.setTimeout(110_000);

const program = path.join(root, 'build', 'src', 'cli', 'rawbpf.js');

function rawbpf(...args: string[]): { status: number | null; stderr: string } {
  return spawnSync(process.execPath, [program, ...args], { encoding: 'utf8', timeout: 60_000 });
}

t.test('--wakeup: events come though none of them wakes the reader, from ring buffers and from perf buffers', async (t) => {
  for (const buffer of ['ringbuf', 'perf']) {
    const args = [
      'run',
      'trace_open',
      '-o',
      'json',
      '--pid',
      String(process.pid),
      '--buffer',
      buffer,
      '--wakeup',
      '20ms',
      '--max-events',
      '3',
    ];
    const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
    const written = text(child.stdout);
    const opens = setInterval(() => readFileSync('/proc/self/comm'), 10);
    const events = (await written)
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { proc: { pid: number } });
    clearInterval(opens);
    t.equal(events.length, 3, buffer);
    for (const event of events) t.equal(event.proc.pid, process.pid);
  }
  t.match(rawbpf('run', 'trace_exec', '--wakeup', 'often'), { status: 2, stderr: /often is not a length of time/ });
  t.match(rawbpf('run', 'trace_exec', '--wakeup', '0.1ms'), { status: 2, stderr: /at least 1ms/ });
});
