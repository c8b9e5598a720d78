// Containers made by hand: cgroups and namespaces as runtimes make them. Others on this machine do the same at the same
// time, so everything is looked for by names of this process's own.
import { spawnSync } from 'node:child_process';
import { chownSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { ContainerFilter } from '../../../src/enrich/containers/filter.ts';
import { FakeRuntime, idOf, runContainer, runContainerSync, startContainer, tag, TestCgroups, traceExec, until } from './fixture.ts';

t.setTimeout(280_000);
const cgroups = new TestCgroups();
const v1 = new TestCgroups('v1');
const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-containers-'));
t.teardown(() => {
  cgroups.close();
  v1.close();
  rmSync(folder, { recursive: true });
});

const words = (count: number, prefix: string): string[] => Array.from({ length: count }, (_, i) => `${tag}-${prefix}${i}`);
const inDocker = (word: string): string => cgroups.make(`docker/${idOf(word)}`);
const run = (word: string): Promise<number | null> => runContainer({ cgroup: inDocker(word), command: ['/bin/true', tag, word] });

void t.test('every program that a container starts carries its container, though nobody looks while they come and go', async (t) => {
  const all = words(24, 'a');
  const traced = await traceExec();
  // One after the other, while this process sleeps: all get the same few inode numbers.
  for (const word of all) runContainerSync({ cgroup: inDocker(word), command: ['/bin/true', tag, word] });
  const execs = (await traced.stop(tag)).filter(({ args }) => args[0] === '/bin/true');
  t.same(
    execs.map(({ args, runtime }) => [args[2], runtime.containerId, runtime.runtimeName]),
    all.map((word) => [word, idOf(word), 'docker']),
  );
  t.ok(execs.every(({ runtime }) => runtime.containerPid > 0 && /^\d{4}-\d\d-\d\dT.*Z$/.test(runtime.containerStartedAt)));
  t.equal(new Set(execs.map(({ runtime }) => runtime.containerPid)).size, all.length, 'each has a first process of its own');
  t.end();
});

void t.test('events wait for names, in their order', async (t) => {
  const runtime = new FakeRuntime(150);
  const all = words(12, 'b');
  for (const word of all) runtime.add(idOf(word), { containerName: `name-of-${word}`, containerImageName: 'busybox:1' });
  const traced = await traceExec({ names: runtime });
  for (const word of all) await run(word);
  const execs = (await traced.stop(tag)).filter(({ args }) => args[0] === '/bin/true');
  t.same(
    execs.map(({ args, runtime: names }) => [args[2], names.containerName, names.containerImageName]),
    all.map((word) => [word, `name-of-${word}`, 'busybox:1']),
  );
  t.end();
});

void t.test('with a filter exactly the events of those containers come, and the kernel keeps the others away', async (t) => {
  const runtime = new FakeRuntime(30);
  const all = words(24, 'c');
  for (const word of all) runtime.add(idOf(word), { containerName: word });
  const wanted = all.filter((_, i) => i % 2 === 0);
  const traced = await traceExec({ names: runtime, filter: new ContainerFilter({ containerName: wanted.join(',') }) });
  for (let i = 0; i < all.length; i += 4) await Promise.all(all.slice(i, i + 4).map(run));
  // Many, for others on this machine start containers, too.
  const outside = 500;
  spawnSync('sh', ['-c', `i=0; while [ $i -lt ${outside} ]; do i=$((i+1)); /bin/true ${tag}; done`]);
  await traced.stop(tag);
  t.same(new Set(traced.execs.map(({ args }) => args[2])), new Set(wanted), 'no event of anybody else');
  t.equal(traced.execs.length, wanted.length);
  t.ok((traced.result()?.counters.received ?? 0) < 2 * all.length + outside / 2, 'the host has been left out in the kernel');
  t.end();
});

void t.test('names that nobody knows cost their events nothing but the name', async (t) => {
  const runtime = new FakeRuntime();
  const [known = '', unknown = ''] = words(2, 'd');
  runtime.add(idOf(known), { containerName: known });
  const traced = await traceExec({ names: runtime });
  await run(unknown);
  await run(known);
  await until(() => traced.execs.some(({ args }) => args.includes(known)));
  const execs = (await traced.stop(tag)).filter(({ args }) => args[0] === '/bin/true');
  t.same(
    execs.map(({ runtime: { containerName, containerId } }) => [containerName, containerId]),
    [
      ['', idOf(unknown)],
      [known, idOf(known)],
    ],
  );
  t.end();
});

void t.test('a sandbox is no container', async (t) => {
  const runtime = new FakeRuntime();
  const [pause = ''] = words(1, 'e');
  runtime.add(idOf(pause), { sandbox: true });
  const traced = await traceExec({ names: runtime });
  await run(pause);
  t.notOk(traced.containers.list.some(({ id }) => id === idOf(pause)));
  const execs = (await traced.stop(tag)).filter(({ args }) => args[0] === '/bin/true');
  t.same(
    execs.map(({ runtime: { containerId } }) => containerId),
    [''],
  );
  t.end();
});

void t.test('what is made within a container is the container, with the inner one beside it', async (t) => {
  const [outer = '', inner = ''] = words(2, 'f');
  const cgroup = inDocker(outer);
  const innerCgroup = cgroups.make(`docker/${idOf(outer)}/docker/${idOf(inner)}`);
  const traced = await traceExec();
  await runContainer({ cgroup, command: ['unshare', '-Urm', '/bin/true', tag, 'unshared'] });
  await runContainer({ cgroup, command: ['sh', '-c', `echo 0 > ${innerCgroup}/cgroup.procs; exec unshare -mpf /bin/true ${tag} inner`] });
  const execs = (await traced.stop(tag)).filter(({ args }) => args[0] === '/bin/true');
  t.same(
    execs.map(({ args, runtime }) => [args[2], runtime.containerId, runtime.innerContainerId]),
    [
      ['unshared', idOf(outer), ''],
      ['inner', idOf(outer), idOf(inner)],
    ],
  );
  t.end();
});

void t.test('who is not root names nobody', async (t) => {
  const [word = '', below = ''] = words(2, 'g');
  const given = cgroups.make(`user`);
  chownSync(given, 1000, 1000);
  const traced = await traceExec();
  // Root's cgroup, the user's namespaces; then the user's cgroup and root's namespaces.
  await runContainer({ cgroup: inDocker(word), uid: 1000, unshare: ['-Urmpf', '--mount-proc'], command: ['/bin/true', tag, word] });
  await runContainer({ cgroup: cgroups.make(`user/docker/${idOf(below)}`), unshare: ['-m'], command: ['/bin/true', tag, below] });
  const execs = (await traced.stop(tag)).filter(({ args }) => args[0] === '/bin/true');
  t.same(
    execs.map(({ args, runtime }) => [args[2], runtime.containerId]),
    [
      [word, ''],
      [below, ''],
    ],
  );
  t.end();
});

void t.test('a container without a cgroup of its own, a service, and the host', async (t) => {
  const traced = await traceExec();
  await runContainer({ command: ['/bin/true', tag, 'contained'] });
  await runContainer({ unshare: ['-m'], command: ['/bin/true', tag, 'service'] });
  spawnSync('/bin/true', [tag, 'host']);
  const execs = (await traced.stop(tag)).filter(({ args }) => args[0] === '/bin/true');
  t.same(
    execs.map(({ args, runtime }) => [args[2], runtime.containerId.replace(/\d+/, 'N'), runtime.containerPid > 0]),
    [
      ['contained', 'mntns-N', true],
      ['service', '', false],
      ['host', '', false],
    ],
  );
  t.end();
});

void t.test('hierarchies of v1 count where v2 says nothing', async (t) => {
  if (v1.root === null) return void t.end();
  const [word = ''] = words(1, 'h');
  const traced = await traceExec();
  await runContainer({ cgroup: v1.make(`libpod_parent/libpod-${idOf(word)}`), command: ['/bin/true', tag, word] });
  const execs = (await traced.stop(tag)).filter(({ args }) => args[0] === '/bin/true');
  t.same(
    execs.map(({ runtime }) => [runtime.containerId, runtime.runtimeName]),
    [[idOf(word), 'podman']],
  );
  t.end();
});

// A process that is cloned into its cgroup is never moved, and no tracepoint tells of it (kernel/cgroup/cgroup.c).
const cloneInto = `
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv) {
  struct clone_args args;
  memset(&args, 0, sizeof(args));
  args.flags = CLONE_INTO_CGROUP | CLONE_NEWNS | CLONE_NEWPID;
  args.exit_signal = SIGCHLD;
  args.cgroup = open(argv[1], O_RDONLY | O_DIRECTORY);
  long pid = syscall(SYS_clone3, &args, sizeof(args));
  if (pid == 0) { execv(argv[2], argv + 2); _exit(127); }
  if (pid < 0) { perror("clone3"); return 1; }
  int status;
  waitpid(pid, &status, 0);
  return WEXITSTATUS(status);
}
`;

void t.test('clone3 into a cgroup', async (t) => {
  const [word = ''] = words(1, 'i');
  const program = path.join(folder, 'clone-into');
  writeFileSync(`${program}.c`, cloneInto);
  t.equal(spawnSync('gcc', ['-o', program, `${program}.c`], { stdio: 'inherit' }).status, 0);
  const traced = await traceExec();
  t.equal(spawnSync(program, [inDocker(word), '/bin/true', tag, word], { stdio: 'inherit' }).status, 0);
  const execs = (await traced.stop(word)).filter(({ args }) => args[0] === '/bin/true');
  t.same(
    execs.map(({ runtime }) => runtime.containerId),
    [idOf(word)],
  );
  t.end();
});

void t.test('a container that runs already, its end, and a process of it that was killed', async (t) => {
  const [word = ''] = words(1, 'j');
  const child = startContainer({ cgroup: inDocker(word), command: ['sh', '-c', 'echo ready; read x'] });
  await new Promise((resolve) => child.stdout?.once('data', resolve));
  const traced = await traceExec();
  const { containers } = traced;
  const found = containers.list.find(({ id }) => id === idOf(word));
  t.match(found, { runtime: 'docker', state: 'running', hostNetwork: true, goneBootNs: null });
  t.match(found?.cgroups[0]?.path, new RegExp(`/docker/${idOf(word)}$`));
  const changes: string[] = [];
  containers.onChange(({ type, container }) => container.id === idOf(word) && changes.push(type));
  const pid = found?.pid ?? 0;
  t.ok(pid > 0 && found?.mntns !== 0);
  process.kill(pid, 'SIGKILL');
  await new Promise((resolve) => child.once('exit', resolve));
  t.ok(await until(() => changes.includes('removed')), 'its end is told');
  t.notOk(containers.list.some(({ id }) => id === idOf(word)));
  // nsproxy is gone before files are closed: such events have no namespace.
  t.equal(containers.byMntns(0, pid, 0)?.runtime.containerId, idOf(word), 'by the thread that ended');
  t.equal(containers.byMntns(found?.mntns ?? 0, pid, 0)?.runtime.containerId, idOf(word), 'an event that comes late');
  t.equal(containers.byMntns(0, 0, 0), null);
  await traced.stop(word);
  t.end();
});

void t.test('changes by for await, and nothing stays behind', async (t) => {
  const fds = (): number => readdirSync('/proc/self/fd').length;
  const before = fds();
  const traced = await traceExec({ names: new FakeRuntime() });
  const all = words(8, 'k');
  const seen: string[] = [];
  const loop = (async () => {
    for await (const { type, container } of traced.containers.changes()) {
      if (all.some((word) => idOf(word) === container.id)) seen.push(`${type} ${container.id}`);
    }
  })();
  const sleeper = startContainer({ cgroup: inDocker(all[0] ?? ''), command: ['sh', '-c', 'echo ready; read x'] });
  await new Promise((resolve) => sleeper.stdout?.once('data', resolve));
  t.ok(await until(() => seen.includes(`added ${idOf(all[0] ?? '')}`)));
  sleeper.stdin?.end();
  t.ok(await until(() => seen.includes(`removed ${idOf(all[0] ?? '')}`)));
  await traced.stop(tag);
  await loop;
  t.equal(fds(), before, 'no descriptor is left');
  t.end();
});

void t.test('a machine without a runtime: one notice', async (t) => {
  const notices: string[] = [];
  const none = new FakeRuntime();
  none.present = false;
  const traced = await traceExec({ names: none, onNotice: (message) => notices.push(message) });
  const [word = ''] = words(1, 'l');
  await run(word);
  const execs = (await traced.stop(word)).filter(({ args }) => args[0] === '/bin/true');
  t.same(execs[0]?.runtime.containerId, idOf(word));
  t.equal(none.asked, 0);
  t.match(notices, [/no container runtime/]);
  t.equal(notices.length, 1);
  t.end();
});

void t.test('without programs of ours /proc and the folders of cgroups tell, and user space filters alone', async (t) => {
  const [there = '', later = ''] = words(2, 'm');
  const before = startContainer({ cgroup: inDocker(there), command: ['sh', '-c', 'echo ready; read x'] });
  await new Promise((resolve) => before.stdout?.once('data', resolve));
  const traced = await traceExec({ polling: 'always', filter: new ContainerFilter({ containerName: idOf(later) }) });
  const { containers } = traced;
  t.match(
    containers.list.find(({ id }) => id === idOf(there)),
    { runtime: 'docker', state: 'running' },
  );
  const after = startContainer({ cgroup: inDocker(later), command: ['sh', '-c', `read x; /bin/true ${tag} ${later}`] });
  t.ok(await until(() => containers.list.some(({ id }) => id === idOf(later))), 'a new one is found');
  after.stdin?.end();
  before.stdin?.end();
  t.ok(await until(() => !containers.list.some(({ id }) => id === idOf(later) || id === idOf(there))), 'their ends are seen');
  await traced.stop(tag);
  t.ok(traced.execs.length > 0 && traced.execs.every(({ runtime }) => runtime.containerId === idOf(later)), 'nobody else shows');
  t.ok(traced.execs.some(({ args }) => args[0] === '/bin/true' && args[2] === later));
  t.end();
});
