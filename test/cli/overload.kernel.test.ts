// More events than can be read, whichever way they are read: each attempt is received or lost, and each received one is a line.
import { spawn } from 'node:child_process';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { root } from '../support/examples.ts';
import { floodObject, maxFlood, openFlood, type Flood } from '../support/flood.ts';
import { slowness } from '../support/patience.ts';

t.setTimeout(115_000 * slowness);

const program = path.join(root, 'build', 'src', 'cli', 'rawbpf.js');

const ways: readonly (readonly string[])[] = [
  ['--buffer', 'ringbuf'],
  ['--buffer', 'ringbuf', '--wakeup', '20ms'],
  ['--buffer', 'ringbuf', '--buffer-size', '64K', '--filter', 'number>=0'],
  ['--buffer', 'perf'],
  ['--buffer', 'perf', '--wakeup', '20ms'],
];

async function opened(pid: number): Promise<Flood> {
  for (
    const end = performance.now() + 60_000 * slowness;
    performance.now() < end;
    await new Promise((resolve) => setTimeout(resolve, 20))
  ) {
    const flood = openFlood(pid);
    if (flood !== null) return flood;
  }
  throw new Error('the gadget did not start');
}

for (const way of ways) {
  void t.test(`attempts = received + lost, and a line for each received: ${way.join(' ')}`, async (test) => {
    const args = ['run', floodObject, '-o', 'json', '--no-containers', ...way];
    const reader = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    const [written, told] = [text(reader.stdout), text(reader.stderr)];
    const flood = await opened(reader.pid ?? 0);
    let attempts = 0;
    let taken = 0;
    const some = (rounds: number): void => {
      for (let i = 0; i < rounds; i++, attempts += maxFlood) taken += flood.run(attempts, maxFlood);
    };
    // Thrice more than the buffer holds, with time in between, and at the end something that is still in the buffer.
    for (let i = 0; i < 3; i++) {
      some(6);
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
    some(1);
    flood.close();
    reader.kill('SIGINT');
    const [lines, summary] = [(await written).trim().split('\n'), (await told).trim()];
    const [received = Number.NaN, lost = Number.NaN] = (/(\d+) received, (\d+) lost/.exec(summary) ?? []).slice(1).map(Number);
    test.ok(lost > 0, `${lost} of ${attempts} lost`);
    test.equal(received + lost, attempts, summary);
    test.equal(lines.length, received);
    const numbers = new Set(lines.map((line) => (JSON.parse(line) as { number: number }).number));
    test.equal(numbers.size, received, 'none twice');
    if (way[1] === 'ringbuf') test.equal(taken, received, 'what the kernel took is what was received');
  });
}
