// 24 containers made and removed in a loop: nothing may grow. RAWBPF_SOAK_MINUTES says for how long (10).
import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { ContainerFilter } from '../../../src/enrich/containers/filter.ts';
import { FakeRuntime, idOf, runContainer, tag, TestCgroups, traceExec, until } from './fixture.ts';

const minutes = Number(process.env['RAWBPF_SOAK_MINUTES'] ?? 10);
t.setTimeout((minutes + 5) * 60_000);

const cgroups = new TestCgroups();
t.teardown(() => cgroups.close());

const fds = (): readonly string[] => readdirSync('/proc/self/fd');
/** Kilobytes. */
const rss = (): number => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);

void t.test(`containers come and go for ${minutes} minutes`, async (t) => {
  const runtime = new FakeRuntime(20);
  const traced = await traceExec({ names: runtime, filter: new ContainerFilter({ containerName: '!nobody' }) });
  let round = 0;
  let made = 0;
  const once = async (): Promise<void> => {
    const words = Array.from({ length: 24 }, (_, i) => `${tag}-${round}-${i}`);
    round++;
    for (let i = 0; i < words.length; i += 6) {
      await Promise.all(
        words.slice(i, i + 6).map(async (word) => {
          runtime.add(idOf(word), { containerName: word });
          await runContainer({ cgroup: cgroups.make(`docker/${idOf(word)}`), command: ['/bin/true', tag, word] });
        }),
      );
    }
    made += words.length;
    await until(() => traced.execs.filter(({ args }) => args[0] === '/bin/true' && args[1] === tag).length >= made, 30_000);
    runtime.known.clear();
    cgroups.close();
    cgroups.make('docker');
  };
  // What is remembered for 30 s is there first.
  for (const end = performance.now() + Math.min(45_000, minutes * 20_000); performance.now() < end;) await once();
  const before = { ...traced.containers.sizes, fds: fds().length, rss: rss() };
  for (const end = performance.now() + minutes * 60_000; performance.now() < end;) await once();
  const right = traced.execs.filter(({ args, runtime: { containerName } }) => args[1] === tag && containerName === args[2]).length;
  t.equal(right, made, `${made} containers in ${round} rounds, each with its name`);
  await new Promise((resolve) => setTimeout(resolve, 3000));
  const after = { ...traced.containers.sizes, fds: fds().length, rss: rss() };
  t.comment(JSON.stringify({ before, after }));
  t.equal(after.fds, before.fds, 'descriptors');
  t.ok(after.known <= before.known + 8, 'namespaces that the programs know');
  t.ok(after.spaces <= before.spaces * 1.5 + 50, 'namespaces that are remembered');
  t.ok(after.rss - before.rss < 40_000, `memory: ${after.rss - before.rss} KB, events that this test keeps among them`);
  await traced.stop(tag);
});
