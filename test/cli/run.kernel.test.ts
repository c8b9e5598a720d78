import { spawn, spawnSync } from 'node:child_process';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { root } from '../support/examples.ts';
import { withoutFlagWarning } from '../support/patience.ts';

// Slow machines take their time.
t.setTimeout(110_000);

const program = path.join(root, 'build', 'src', 'cli', 'rawbpf.js');

function rawbpf(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [program, ...args], { encoding: 'utf8', timeout: 30_000 });
}

t.test('a signal ends it soon, though nobody reads stdout', async (t) => {
  const child = spawn(process.execPath, [program, 'run', 'trace_open', '-v', '-o', 'json'], { stdio: ['ignore', 'pipe', 'pipe'] });
  let notices = '';
  // Read from within the event: afterwards node throws away what nobody has read.
  const ended = new Promise<{ readonly code: number | null; readonly written: Promise<string> }>((resolve) =>
    child.on('exit', (code) => resolve({ code, written: text(child.stdout) })),
  );
  await new Promise<void>((resolve) => {
    child.stderr.setEncoding('utf8').on('data', (part: string) => {
      notices += part;
      if (notices.includes('trace_open: attached')) resolve();
    });
    child.on('exit', () => resolve());
  });
  // Nothing has read stdout so far: more than a pipe and this process's side of it hold.
  spawnSync('sh', ['-c', 'i=0; while [ $i -lt 4000 ]; do i=$((i+1)); : < /dev/null; done']);
  await new Promise((resolve) => setTimeout(resolve, 300));
  const late = setTimeout(() => child.kill('SIGKILL'), 10_000);
  child.kill('SIGINT');
  const { code, written } = await ended;
  t.equal(code, 0, 'not killed: far more than the second it takes, on a loaded machine');
  clearTimeout(late);
  t.match(notices, /stdout is not being read/);
  // What the pipe held is all that was ever written.
  const lines = (await written).split('\n').length - 1;
  const [, received, left] = (/(\d+) received, \d+ lost, \d+ discarded, (\d+) not written/.exec(notices) ?? []).map(Number);
  t.ok(left !== undefined && left > 0, notices);
  t.ok(lines < Number(received), `${lines} lines of ${received} events`);
  t.ok(
    lines >= Number(received) - Number(left),
    `${left} were not written, ${lines} of ${received} were: only a chunk that is half out is counted as both`,
  );
});

t.test('wrong values of flags end with 2, before anything is loaded', async (t) => {
  const rows: readonly [readonly string[], RegExp][] = [
    [['--fields', 'nope'], /there is no field nope/],
    [['--fields', ','], /--fields names no field/],
    [['--filter', 'nope==1'], /there is no field nope/],
    [['--pid', 'x'], /bad value for --pid/],
    [['--pid', '4294967296'], /from 0 to 4294967295/],
    [['--max-events', '0'], /between 1 and/],
    [['--map-fetch-interval', 'soon'], /soon is not a length of time/],
    [['--map-fetch-interval', 'exce:1s'], /no data source exce.*did you mean exec/],
    [['--map-fetch-count', '0'], /not a whole number of at least 1/],
    [['--filter', 'exce:fd==1'], /names no data source of this gadget: exce/],
    [['--sort', 'file'], /events of trace_exec come one by one/],
    [['--timeout', '-1'], /not a number of seconds/],
    [['--output', 'xml'], /columns, json, jsonpretty, yaml, pcap-ng, advise, none/],
  ];
  for (const [args, message] of rows) {
    const { status, stdout, stderr } = rawbpf('run', 'trace_exec', ...args);
    t.match({ status, stdout }, { status: 2, stdout: '' }, args.join(' '));
    t.match(stderr, message);
  }
});

t.test('a reader of stderr that goes away ends nothing', (t) => {
  // The first notice is read, all later ones meet a closed pipe.
  const script = `{ "$0" "$1" run trace_exec -v --timeout 2; echo "exit $?" >&3; } 2>&1 >/dev/null 3>&4 | head -1 >/dev/null`;
  const { stdout } = spawnSync('sh', ['-c', `{ ${script}; } 4>&1`, process.execPath, program], { encoding: 'utf8', timeout: 60_000 });
  t.equal(stdout, 'exit 0\n');
  t.end();
});

t.test('a full disk behind stdout is told and ends with 1', (t) => {
  const { status, stderr } = spawnSync('sh', ['-c', '"$0" "$1" list > /dev/full', process.execPath, program], { encoding: 'utf8' });
  t.equal(status, 1);
  t.match(withoutFlagWarning(stderr), /^rawbpf: cannot write to stdout: ENOSPC/);
  t.end();
});
