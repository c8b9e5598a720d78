// A busy machine: rawbpf is late, runtimes are slow. Events are then later, and as right as ever.
import { spawnSync } from 'node:child_process';
import t from 'tap';
import { FakeRuntime, idOf, runContainer, runContainerSync, startContainer, tag, TestCgroups, traceExec, until } from './fixture.ts';

t.setTimeout(110_000);
// Those that mostly wait do it together.
t.jobs = 2;
const together = { buffered: true };
const cgroups = new TestCgroups();
t.teardown(() => cgroups.close());

const inDocker = (word: string): string => cgroups.make(`docker/${idOf(word)}`);

void t.test('what is asked for while reports are being read is not taken for all there is', async (t) => {
  const traced = await traceExec();
  const { containers } = traced;
  const answers: boolean[] = [];
  const off = containers.onDecided((spaces) => {
    if (spaces.length > 0) answers.push(containers.sync());
  });
  const words = ['lag-a', 'lag-b', 'lag-c', 'lag-d'].map((word) => `${tag}-${word}`);
  // Nothing is read while this process waits: all reports come in one turn, and the first is told before the last is read.
  for (const word of words) runContainerSync({ cgroup: inDocker(word), command: ['/bin/true', tag, word] });
  t.ok(containers.sync(), 'outside of it all is read');
  off();
  t.ok(answers.length >= words.length && answers[0] === false, 'within the reading of a report there is more to come');
  const execs = (await traced.stop(tag)).filter(({ args }) => args[0] === '/bin/true');
  t.same(
    execs.map(({ args, runtime }) => [args[2], runtime.containerId]),
    words.map((word) => [word, idOf(word)]),
  );
  t.end();
});

void t.test('events that wait when it is stopped come out, each once, with their ids', together, async (t) => {
  const slow = new FakeRuntime(60_000);
  const traced = await traceExec({ names: slow });
  const words = ['slow-a', 'slow-b', 'slow-c'].map((word) => `${tag}-${word}`);
  for (const word of words) await runContainer({ cgroup: inDocker(word), command: ['/bin/true', tag, word] });
  const execs = (await traced.stop(tag)).filter(({ args }) => args[0] === '/bin/true');
  t.same(
    execs.map(({ args, runtime }) => [args[2], runtime.containerId, runtime.containerName]),
    words.map((word) => [word, idOf(word), '']),
  );
  t.equal(traced.result()?.counters.delivered, traced.execs.length);
  t.end();
});

void t.test('a runtime that was absent names what goes on running once it is there', together, async (t) => {
  const runtime = new FakeRuntime();
  runtime.present = false;
  const traced = await traceExec({ names: runtime });
  const word = `${tag}-late`;
  const child = startContainer({ cgroup: inDocker(word), command: ['sh', '-c', 'echo ready; read x'] });
  await new Promise((resolve) => child.stdout?.once('data', resolve));
  const name = (): string | undefined => traced.containers.list.find(({ id }) => id === idOf(word))?.fields.runtime.containerName;
  t.ok(await until(() => name() === ''), 'there, without a name');
  runtime.add(idOf(word), { containerName: 'late' });
  runtime.present = true;
  t.ok(await until(() => name() === 'late', 60_000), 'named by a later question');
  child.stdin?.end();
  await traced.stop(tag);
  t.end();
});

void t.test('reports that have no room are made good: what is there is found again, and nobody has the name of another', async (t) => {
  const notices: string[] = [];
  // A page: room for some ten reports.
  const traced = await traceExec({ bufferBytes: 4096, onNotice: (message) => notices.push(message) });
  const before = `${tag}-full-before`;
  const during = `${tag}-full-during`;
  const loop = (word: string): string[] => ['sh', '-c', `echo ready; while read x; do /bin/true ${tag} ${word}; done`];
  const first = startContainer({ cgroup: inDocker(before), command: loop(before) });
  await new Promise((resolve) => first.stdout?.once('data', resolve));
  await until(() => traced.containers.list.some(({ id }) => id === idOf(before)));
  // From here on nothing is read.
  const words = Array.from({ length: 24 }, (_, i) => `${tag}-full-${i}`);
  const some = (from: number, to: number): void =>
    words.slice(from, to).forEach((word) => runContainerSync({ cgroup: inDocker(word), command: ['/bin/true', tag, word] }));
  some(0, 12);
  const second = startContainer({ cgroup: inDocker(during), command: loop(during) });
  first.stdin?.write('x\n');
  spawnSync('sleep', ['0.5']);
  some(12, 24);
  // And from here on it is.
  t.ok(await until(() => traced.containers.list.some(({ id }) => id === idOf(during))), 'what was started then is found');
  first.stdin?.end('x\n');
  second.stdin?.end('x\n');
  await Promise.all([first, second].map((child) => new Promise((resolve) => child.once('exit', resolve))));
  await runContainer({ cgroup: inDocker(`${words[0]}-after`), command: ['/bin/true', tag, `${words[0]}-after`] });
  const execs = (await traced.stop(tag)).filter(({ args }) => args[0] === '/bin/true');
  const idsOf = (word: string): readonly string[] => execs.filter(({ args }) => args[2] === word).map(({ runtime }) => runtime.containerId);
  t.same(idsOf(before), [idOf(before), idOf(before)], 'its number was its own all the time');
  t.same(idsOf(during), [idOf(during)]);
  t.same(idsOf(`${words[0]}-after`), [idOf(`${words[0]}-after`)], 'afterwards all is as ever');
  const wrong = words.filter((word) => idsOf(word).some((id) => id !== '' && id !== idOf(word)));
  t.same(wrong, [], 'none has a name that is not its own');
  t.same(
    words.map((word) => idsOf(word).length),
    words.map(() => 1),
    'every program is told once',
  );
  const nameless = words.filter((word) => idsOf(word)[0] === '');
  t.ok(nameless.length > 0, `${nameless.length} of them were not reported: this was a loss`);
  t.match(notices.join('\n'), /reports of namespaces had no room/);
  t.end();
});
