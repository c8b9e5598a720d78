// What the bundled program takes at most until it shows events: pages of Node that one step of the start needed are let go of before the next.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';

t.setTimeout(280_000);

const program = fileURLToPath(new URL('../../cli/rawbpf.cjs', import.meta.url));
const nowhere = ['docker', 'podman', 'containerd', 'crio'].flatMap((kind) => [`--${kind}-socketpath`, '/nonexistent/socket']);

/** KiB of the greatest resident set until half a second after the gadget was attached, as the kernel keeps it. */
async function peakOf(env: NodeJS.ProcessEnv): Promise<number> {
  const child = spawn(process.execPath, [program, 'run', 'trace_open', '-v', '--containers-only', ...nowhere], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, ...env },
  });
  let said = '';
  child.stderr.on('data', (part: Buffer) => (said += part.toString()));
  const ended = new Promise((resolve) => child.once('close', resolve));
  while (!said.includes(': attached') && child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 20));
  await new Promise((resolve) => setTimeout(resolve, 500));
  const peak = Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${child.pid}/status`, 'latin1'))?.[1]);
  child.kill('SIGINT');
  await ended;
  return peak;
}

void t.test('no moment of a start holds the pages of all its steps', async (t) => {
  const kept = await peakOf({ RAWBPF_KEEP_PAGES: '1' });
  const peak = await peakOf({});
  t.ok(peak < kept - 6 * 1024, `at most ${(peak / 1024).toFixed(1)} MiB; with pages kept ${(kept / 1024).toFixed(1)}`);
  // Newer Nodes are bigger before their first line.
  if (process.versions.node.startsWith('20.')) t.ok(peak < 75e6 / 1024, 'less than 75 MB');
});
