import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';

// A loaded machine may take long over all of it.
t.setTimeout(110_000);

const child = fileURLToPath(new URL('permission-child.js', import.meta.url));

/** Runs the child under a command that takes something from it; returns what it printed. */
function run(...command: readonly string[]): string {
  const result = spawnSync(
    command[0] ?? process.execPath,
    [...command.slice(1), ...(command.length > 0 ? [process.execPath] : []), child],
    { encoding: 'utf8' },
  );
  return result.stdout.trim() || `${result.status} ${result.stderr}`;
}

/** Without these capabilities, still root. */
function without(...names: readonly string[]): string[] {
  return [
    'setpriv',
    `--bounding-set=${names.map((name) => `-${name}`).join(',')}`,
    `--inh-caps=${names.map((name) => `-${name}`).join(',')}`,
  ];
}

const rows: readonly (readonly [what: string, command: readonly string[], said: RegExp])[] = [
  ['root', [], /^loaded$/],
  ['no capabilities', without('all'), /EPERM: this process is root but lacks CAP_BPF.*give it CAP_BPF and CAP_PERFMON/],
  ['CAP_BPF alone', without('sys_admin', 'perfmon'), /EPERM: this process is root but lacks CAP_PERFMON/],
  ['root of a user namespace', ['unshare', '--user', '--map-root-user'], /EPERM: this process is in a user namespace/],
];
for (const [what, command, said] of rows) {
  void t.test(`loading a tracing program as ${what}`, async (test) => {
    test.match(run(...command), said);
  });
}

for (const call of ['bpf', 'perf_event_open']) {
  void t.test(`under a seccomp filter that refuses ${call}, it is named`, async (test) => {
    const { stdout } = spawnSync(process.execPath, [child, call], { encoding: 'utf8' });
    test.match(stdout, new RegExp(`EPERM: a seccomp filter is active and forbids ${call}\\(\\);.*allow these system calls`));
  });
}

void t.test('time namespaces: wall-clock time from the host’s clocks', async (test) => {
  const program = `
    import(${JSON.stringify(fileURLToPath(new URL('../../src/sys/clock.js', import.meta.url)))}).then(async (clock) => {
      const { defaultSys } = await import(${JSON.stringify(fileURLToPath(new URL('../../src/sys/default-sys.js', import.meta.url)))});
      const { boottimeToEpoch, monotonicToEpoch, exact } = clock.clockOffsets(defaultSys());
      console.log([boottimeToEpoch, monotonicToEpoch, exact, clock.clockGettime(defaultSys(), 'CLOCK_BOOTTIME')].join(' '));
    });`;
  const outside = spawnSync(process.execPath, ['-e', program], { encoding: 'utf8' }).stdout.trim().split(' ');
  const inside = spawnSync('unshare', ['--time', '--boottime', '86400', '--monotonic', '5000', process.execPath, '-e', program], {
    encoding: 'utf8',
  })
    .stdout.trim()
    .split(' ');
  test.equal(inside[2], 'true');
  for (const i of [0, 1]) {
    const apart = Math.abs(Number(BigInt(inside[i] ?? 0) - BigInt(outside[i] ?? 0)));
    test.ok(apart < 1_000_000, `${apart} ns apart`);
  }
  test.ok(BigInt(inside[3] ?? 0) - BigInt(outside[3] ?? 0) > 86_000_000_000_000n, 'the clock itself is a day ahead in there');
});
