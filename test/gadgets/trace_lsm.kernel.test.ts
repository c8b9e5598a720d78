import { readFileSync } from 'node:fs';
import t from 'tap';
import { slowness } from '../support/patience.ts';
import { expectProcess, expectTime, runPerl } from '../support/process.ts';
import { RunningGadget, traced } from '../support/run-gadget.ts';

// Slow machines take their time.
t.setTimeout(110_000 * slowness);

const hooks = [
  'inode_mkdir',
  'inode_rmdir',
  'inode_symlink',
  'inode_unlink',
  'task_kill',
  'socket_create',
  'socket_bind',
  'bprm_check_security',
];
const flags = hooks.map((hook) => `--trace-${hook}`);

/** Whether security modules can be written in BPF here: the gadget itself says so. */
async function lsmWorks(): Promise<true | string> {
  try {
    await (await RunningGadget.start('trace_lsm', ['--trace-task_kill'])).stop();
    return true;
  } catch (error) {
    return String(error);
  }
}

// What is asked of security modules for each of these is in the kernel's Documentation/security/lsm.rst and lsm_hooks.h.
const calls = String.raw`
  use Socket;
  my $at = "/tmp/rawbpf-lsm-$$";
  mkdir $at; symlink "nowhere", "$at/link"; unlink "$at/link"; rmdir $at;
  kill 0, getppid;
  socket(my $socket, AF_INET, SOCK_DGRAM, 0); bind($socket, pack_sockaddr_in(0, INADDR_LOOPBACK));
  exec "/bin/true";
`;

void t.test('the hooks that are asked for', async (t) => {
  const works = await lsmWorks();
  if (works !== true) {
    t.match(
      works,
      /task_kill: nothing is shown on this kernel|no program of the gadget could be attached/,
      'this kernel says why it has none',
    );
    return;
  }
  const { events, lost, made } = await traced('trace_lsm', flags, () => runPerl(calls));
  t.equal(lost, 0);
  const own = events.filter((event) => event.proc.pid === made.pid && event.proc.comm === 'perl');
  // Before it is perl, the process is a copy of this one; perl itself makes none of these calls.
  // Where files lie on an overlay, the kernel asks again for the file system below.
  const names = own.map((event) => event['tracepoint']);
  t.same(
    names.filter((name, i) => name !== names[i - 1]),
    ['inode_mkdir', 'inode_symlink', 'inode_unlink', 'inode_rmdir', 'task_kill', 'socket_create', 'socket_bind', 'bprm_check_security'],
    'one event for each, in order',
  );
  for (const event of own) {
    expectProcess(t, event.proc, { pid: made.pid, comm: 'perl' }, String(event['tracepoint']));
    expectTime(t, event, made, String(event['tracepoint']));
  }
  t.ok(
    events.every((event) => hooks.includes(String(event['tracepoint']))),
    'no other hook',
  );
});

void t.test('every hook of the gadget has its flag and its program', (t) => {
  const folder = new URL('../../../gadgets/trace_lsm/', import.meta.url);
  const named = [...readFileSync(new URL('hooks.h', folder), 'utf8').matchAll(/F\((\w+)\)/g)].slice(1).map(([, name = '']) => name);
  const yaml = readFileSync(new URL('gadget.yaml', folder), 'utf8');
  t.ok(named.length > 200);
  for (const name of named) {
    if (
      yaml.includes(`key: trace-${name}\n`) &&
      yaml.includes(`lsm_${name}:\n    alternativeOf: ${name}?\n    enabledBy: trace_all, trace_${name}\n`)
    )
      continue;
    t.fail(`${name}: run scripts/gen-lsm-gadget.mjs`);
  }
  t.end();
});
