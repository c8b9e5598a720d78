// What is told when the enricher is full, and that it is loaded only where a gadget asks.
import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { Kernel } from '../../../src/bpf/index.ts';
import { openProgramById } from '../../../src/bpf/program/open.ts';
import { SocketEnricher } from '../../../src/enrich/sockets/index.ts';
import { Netns, until } from '../../support/netns.ts';
import { networkPerl } from '../../support/network.ts';
import { slowness } from '../../support/patience.ts';
import { RunningGadget } from '../../support/run-gadget.ts';
import { keyOf, pidOf } from './entries.ts';

t.setTimeout(110_000 * slowness);
void t.test('sockets that do not fit are counted and told, the others are right, and there is room again when some are gone', async (t) => {
  const space = await Netns.make();
  t.teardown(() => space.close());
  const kernel = new Kernel();
  const notices: string[] = [];
  const before = new SocketEnricher(kernel);
  const known = [...before.states.keys()].length;
  before.close();
  const enricher = new SocketEnricher(kernel, {
    maxSockets: known + 64,
    keepMs: 100,
    sweepMs: 50,
    notice: (message) => notices.push(message),
  });
  t.teardown(() => {
    enricher.close();
    kernel.close();
  });
  t.equal(enricher.counters.notFitting, 0);
  const child = space.spawn('perl', [
    '-e',
    `use strict; $| = 1; ${networkPerl}
    my @all = map { socket(my $s, AF_INET, SOCK_DGRAM, 0) or die $!; bind($s, at(AF_INET, "127.0.0.1", 0)) or die $!; $s } 1 .. 300;
    print join(" ", map { port_of($_) } @all), "\\n"; <STDIN>; close $_ for @all; print "closed\\n";
    while (<STDIN>) { socket(my $s, AF_INET, SOCK_DGRAM, 0); bind($s, at(AF_INET, "127.0.0.1", 0)) or die $!; $main::kept = $s; print "again ", port_of($s), "\\n" }`,
  ]);
  let said = '';
  child.stdout?.on('data', (data: Buffer) => (said += data.toString()));
  const line = async (number: number): Promise<string> => {
    await until(`line ${number}`, () => said.split('\n').length > number + 1 || child.exitCode !== null);
    return said.split('\n')[number] ?? '';
  };
  const ports = (await line(0)).split(' ').map(Number);
  t.equal(ports.length, 300);
  const told = ports.map((port) => pidOf(enricher.sockets.lookup(keyOf(space.inode, 17, port))));
  const right = told.filter((pid) => pid === child.pid).length;
  t.ok(right >= 20 && right < 300, `${right} of 300 fit`);
  t.same(new Set(told), new Set([child.pid, 0]), 'the others are nobody, and not somebody else');
  const { notFitting } = enricher.counters;
  t.ok(notFitting >= 300 - right, `${notFitting} counted`);
  await until('it is told', () => notices.length > 0);
  t.match(notices, [/\d+ sockets had no room/]);
  child.stdin?.write('\n');
  t.equal(await line(1), 'closed');
  // The machine's other programs have sockets too: what is free may be taken again at once.
  let again = 0;
  for (let n = 2; n < 60 && again !== child.pid; n++) {
    child.stdin?.write('\n');
    again = pidOf(enricher.sockets.lookup(keyOf(space.inode, 17, Number((await line(n)).split(' ')[1]))));
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  t.equal(again, child.pid, 'there is room again');
  t.equal(notices.length, 1, 'told once');
  child.kill('SIGKILL');
});

/** Names of the programs and ids of those that a process holds. */
function programsOf(pid: number, kernel: Kernel): Map<number, string> {
  const found = new Map<number, string>();
  for (const fd of readdirSync(`/proc/${pid}/fdinfo`)) {
    let info = '';
    try {
      info = readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8');
    } catch {
      // Closed since.
    }
    const id = Number(/^prog_id:\s*(\d+)$/m.exec(info)?.[1] ?? 0);
    if (id === 0) continue;
    const program = openProgramById(kernel, id);
    if (program === null) continue;
    found.set(id, program.info().name);
    program.close();
  }
  return found;
}

const enricherPrograms = ['socket_sends', 'process_forks', 'close_begins', 'softirq_begins'];

void t.test('a gadget that does not ask who holds a socket loads nothing of the enricher; one that asks lets go of it', async (t) => {
  const kernel = new Kernel();
  t.teardown(() => kernel.close());
  for (const name of ['trace_exec', 'trace_tcp']) {
    const gadget = await RunningGadget.start(name, ['--no-containers']);
    const names = [...programsOf(gadget.pid, kernel).values()];
    await gadget.stop();
    t.same(
      enricherPrograms.filter((each) => names.includes(each)),
      [],
      `${name}: ${names.length} programs`,
    );
  }
  const gadget = await RunningGadget.start('trace_dns', ['--no-containers']);
  const programs = programsOf(gadget.pid, kernel);
  t.same(
    enricherPrograms.filter((each) => [...programs.values()].includes(each)),
    enricherPrograms,
    'they are there',
  );
  await gadget.stop();
  const left = (): number[] =>
    [...programs.keys()].filter((id) => {
      const program = openProgramById(kernel, id);
      program?.close();
      return program !== null;
    });
  await until('all are gone', () => left().length === 0);
  t.same(left(), []);
});
