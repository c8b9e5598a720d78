// Anyone but the host's root who makes cgroups or namespaces that look like a container's gets no name.
import { chownSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { ContainerFilter } from '../../../src/enrich/containers/filter.ts';
import { idOf, runContainer, startContainer, tag, TestCgroups, traceExec, until, type FakeContainer } from './fixture.ts';

t.setTimeout(110_000);
const user = 1000;
const hierarchies = [new TestCgroups('v2'), new TestCgroups('v1')].filter(({ root }) => root !== null);
t.teardown(() => hierarchies.forEach((each) => each.close()));

/** A folder of cgroups that was given to the user, as systemd gives user@1000.service. */
const given = hierarchies.map((each) => {
  const folder = each.make('user.slice/user-1000.slice');
  for (const file of ['', 'cgroup.procs']) chownSync(path.join(folder, file), user, user);
  return folder;
});

const uid = '2dbf5b34-5b6f-4e5b-9a0e-0c0f3d7f9b11';
/** Names of cgroups as runtimes give them. */
const shapes: readonly ((id: string) => string)[] = [
  (id) => `docker-${id}.scope`,
  (id) => `docker/${id}`,
  (id) => `libpod-${id}.scope`,
  (id) => `machine.slice/libpod-${id}.scope/container`,
  (id) => `cri-containerd-${id}.scope`,
  (id) => `kubepods/besteffort/pod${uid}/${id}`,
  (id) => `kubepods/besteffort/pod${uid}/crio-${id}`,
  (id) => `lxc.payload.${id}`,
  (id) => `machine.slice/systemd-nspawn@${id}.service/payload`,
];

const words = shapes.map((_, i) => `${tag}-look${i}`);

/**
 * The user makes such cgroups, goes into them, takes a runtime's name, and runs a command in namespaces of its own. Root only puts
 * the shell where the user may go on.
 */
function imitation(i: number, command: string): FakeContainer {
  const shape = shapes[i]?.(idOf(words[i] ?? '')) ?? '';
  const enter = given.map((folder) => `mkdir -p ${folder}/${shape} && echo 0 > ${folder}/${shape}/cgroup.procs || exit 9`);
  const script = [...enter, "printf 'runc:[2:INIT]' > /proc/self/comm", `exec unshare -Urmpf --mount-proc sh -c '${command}'`].join('; ');
  return { cgroups: given, uid: user, unshare: null, command: ['sh', '-c', script] };
}

void t.test('a user with cgroups of its own that are called as runtimes call them', async (t) => {
  // One is there before anybody looks.
  const before = startContainer(imitation(0, `echo ready; read x; /bin/true ${tag} before`));
  await new Promise((resolve) => before.stdout?.once('data', resolve));
  const traced = await traceExec();
  const filtered = await traceExec({ filter: new ContainerFilter({ containerName: words.map(idOf).join(',') }) });
  for (const [i, word] of words.entries())
    t.equal(await runContainer(imitation(i, `exec /bin/true ${tag} ${word}`)), 0, shapes[i]?.('ID') ?? '');
  before.stdin?.end('\n');
  await new Promise((resolve) => before.once('exit', resolve));
  const ids = new Set(words.map(idOf));
  t.notOk(
    traced.containers.list.some(({ id }) => ids.has(id)),
    'none is listed',
  );
  const execs = (await traced.stop(tag)).filter(({ args }) => args[0] === '/bin/true');
  t.same(
    execs.map(({ args, runtime }) => [args[2], runtime.containerId, runtime.runtimeName, runtime.containerName]),
    [...words, 'before'].map((word) => [word, '', '', '']),
  );
  await filtered.stop(tag);
  t.same(
    filtered.execs.filter(({ args }) => args.includes(tag)),
    [],
    'and no filter takes it for that container',
  );
  t.end();
});

void t.test('the same where /proc is all that tells', async (t) => {
  const traced = await traceExec({ polling: 'always' });
  const child = startContainer(imitation(1, 'echo ready; read x'));
  await new Promise((resolve) => child.stdout?.once('data', resolve));
  // One of root's own that comes later shows that the imitation was looked at.
  const real = hierarchies[0]?.make(`docker/${idOf('real')}`) ?? '';
  const honest = startContainer({ cgroup: real, command: ['sh', '-c', 'echo ready; read x'] });
  t.ok(await until(() => traced.containers.list.some(({ id }) => id === idOf('real'))));
  const ids = new Set(words.map(idOf));
  t.notOk(traced.containers.list.some(({ id, runtime }) => ids.has(id) || (runtime === 'runc' && id.includes('look'))));
  for (const each of [child, honest]) {
    each.stdin?.end('\n');
    await new Promise((resolve) => each.once('exit', resolve));
  }
  await traced.stop(tag);
  t.end();
});
