// Containers in containers: docker in docker, and rawbpf itself in a container that has the host's root (`--host-root`).
import { mkdtempSync, realpathSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { spawn, spawnSync } from 'node:child_process';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { machineNames } from '../../../src/enrich/runtimes/machine.ts';
import { Rig } from '../runtimes/rig.ts';
import { tag, traceExec } from './fixture.ts';

t.setTimeout(900_000);
const root = realpathSync(fileURLToPath(new URL('../../../../', import.meta.url)));
const cache = process.env['RAWBPF_RIG_CACHE'] ?? path.join(os.homedir(), '.cache', 'rawbpf-rig');
const rig = new Rig('docker');
t.teardown(() => rig.stop());
// However it ends: a time limit does not run teardowns.
process.once('exit', () => rig.stop());
process.once('SIGTERM', () => process.exit(1));

/** Folders of the machine, for programs that no image of the rig's has: node, docker, their libraries. */
const mounts = [
  ...['/usr:/usr', '/usr/lib:/lib', '/usr/lib64:/lib64', '/usr/bin:/bin', '/usr/sbin:/sbin', '/etc:/etc', '/var/lib/dpkg:/var/lib/dpkg'],
  ...[root, realpathSync(path.join(root, 'node_modules'))].map((folder) => `${folder}:${folder}`),
].flatMap((pair) => ['-v', `${pair}:ro`]);
const unconfined = ['seccomp=unconfined', 'apparmor=unconfined', 'systempaths=unconfined'].flatMap((what) => ['--security-opt', what]);
const docker = (...args: readonly string[]): string => rig.exec('docker', ...args);
const names = (): ReturnType<typeof machineNames> =>
  machineNames({ sockets: { docker: [rig.sockets.docker], podman: [], containerd: [], crio: [], podmanFolders: [] } });

void t.test('docker in docker: the outermost container, with the inner one in a field of its own', async (t) => {
  // As --privileged, but for a capability that not every root has.
  docker(
    ...['run', '-d', '--name', 'outer', '--network', 'none', '--cap-add', 'ALL', '--cap-drop', 'SYS_RESOURCE', ...unconfined],
    ...['--device-cgroup-rule', 'a *:* rwm', ...mounts, '-v', `${cache}:/cache`, '--tmpfs', '/run', '--tmpfs', '/tmp:exec'],
    ...['-e', 'RAWBPF_RIG_CACHE=/cache', '-e', 'HOME=/tmp', 'rigbox:1', '/bin/sleep', '10000'],
  );
  const inOuter = (...args: readonly string[]): string => docker('exec', 'outer', ...args);
  inOuter('sh', '-c', 'for m in $(grep -E " cgroup2? " /proc/mounts | cut -d" " -f2); do mount -o remount,bind,rw $m; done');
  const inner = (...args: readonly string[]): string =>
    inOuter('node', path.join(root, 'scripts/containers/rig.mjs'), '--dir', '/tmp/r', ...args);
  inner('start', 'docker');
  const traced = await traceExec({ names: names() });
  const words = ['one', 'two', 'three'].map((word) => `${tag}-${word}`);
  for (const word of words) inner('exec', 'docker', 'run', '--name', word, '--network', 'none', 'rigbox:1', '/bin/true', tag, word);
  inner('exec', 'docker', 'run', '-d', '--name', 'stays', '--network', 'none', 'rigbox:1', '/bin/sleep', '1000');
  const ids = new Map(
    inner('exec', 'docker', 'ps', '-a', '--no-trunc', '--format', '{{.Names}} {{.ID}}')
      .split('\n')
      .map((line) => line.split(' ') as [string, string]),
  );
  const outerId = docker('inspect', '-f', '{{.Id}}', 'outer');
  const listed = traced.containers.list.find(({ id }) => id === outerId);
  t.ok(
    listed?.inner.some(({ id }) => id === ids.get('stays')),
    'the list has the inner one within the outer one',
  );
  t.notOk(
    traced.containers.list.some(({ id }) => [...ids.values()].includes(id)),
    'and not beside it',
  );
  const execs = (await traced.stop(tag)).filter(({ args }) => args[0] === '/bin/true');
  t.same(
    execs.map(({ args, runtime }) => [args[2], runtime.containerName, runtime.containerId, runtime.innerContainerId]),
    words.map((word) => [word, 'outer', outerId, ids.get(word)]),
  );
  // Found by a scan as well: what runs already.
  const later = await traceExec({ names: names() });
  t.ok(
    later.containers.list.find(({ id }) => id === outerId)?.inner.some(({ id }) => id === ids.get('stays')),
    'also where it runs already',
  );
  await later.stop(tag);
  inner('stop');
  docker('rm', '-f', 'outer');
  t.end();
});

for (const [what, capabilities] of [['CAP_SYS_ADMIN, as older kernels want', ['sys_admin', 'sys_ptrace']]] as const) {
  void t.test(`rawbpf in a container of docker's with --host-root and ${what}`, async (t) => {
    t.teardown(() => docker('rm', '-f', 'there'));
    docker('run', '-d', '--name', 'there', '--network', 'none', 'rigbox:1', '/bin/sleep', '1000');
    const hostMounts = ['proc', 'sys', 'run', 'etc'].flatMap((name) => ['-v', `/${name}:/host/${name}:ro`]);
    const inContainer = (...args: readonly string[]): readonly string[] => [
      ...['run', '--rm', '--network', 'none', '--cap-add', 'ALL', '--cap-drop', 'SYS_RESOURCE', ...unconfined],
      ...[...mounts, ...hostMounts, '-v', `${rig.sockets.docker}:/docker.sock`, '-e', 'HOME=/tmp', 'rigbox:1'],
      ...['setpriv', `--bounding-set=-all,${capabilities.map((name) => `+${name}`).join()}`, `--inh-caps=-all`],
      ...['node', path.join(root, 'build/src/cli/rawbpf.js'), ...args, '--host-root', '/host', '--docker-socketpath', '/docker.sock'],
    ];
    const list = docker(...inContainer('list-containers', '-o', 'json'))
      .split('\n')
      .map((line) => JSON.parse(line) as { runtime: { containerName: string; containerPid: number } });
    const there = list.find(({ runtime }) => runtime.containerName === 'there');
    t.equal(
      there?.runtime.containerPid,
      Number(docker('inspect', '-f', '{{.State.Pid}}', 'there')),
      "what runs already, by the host's process id",
    );
    // Its own container is one as others are.
    t.ok(list.length >= 2);
    const child = spawn('sh', [
      '-c',
      'exec "$@"',
      'sh',
      ...rigCommand(inContainer('run', 'trace_exec', '-v', '-o', 'json', '-c', 'later', '--timeout', '60')),
    ]);
    let [out, err] = ['', ''];
    child.stdout.on('data', (data: Buffer) => (out += data.toString()));
    child.stderr.on('data', (data: Buffer) => (err += data.toString()));
    const ended = new Promise((resolve) => child.once('close', resolve));
    for (let i = 0; i < 1200 && !/: attached$/m.test(err); i++) await new Promise((resolve) => setTimeout(resolve, 50));
    t.match(err, /attached/);
    docker('run', '--rm', '--name', 'later', '--network', 'none', 'rigbox:1', '/bin/true', tag);
    docker('run', '--rm', '--name', 'another', '--network', 'none', 'rigbox:1', '/bin/true', tag);
    for (let i = 0; i < 600 && !out.includes(tag); i++) await new Promise((resolve) => setTimeout(resolve, 50));
    const ids = docker('ps', '-q', '--filter', 'ancestor=rigbox:1').split('\n');
    for (const id of ids) if (docker('inspect', '-f', '{{.Path}}', id) === 'setpriv') docker('kill', '-s', 'INT', id);
    await ended;
    const execs = out
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as { args: string; runtime: { containerName: string } });
    t.same(
      new Set(execs.map(({ runtime }) => runtime.containerName)),
      new Set(['later']),
      'events of the one that was asked for, and of no other',
    );
    t.ok(execs.some(({ args }) => args === `/bin/true ${tag}`));
    t.end();
  });
}

void t.test("in a container of docker's and with no runtime to ask: ids, and one notice", (t) => {
  const id = docker('run', '-d', '--name', 'unasked', '--network', 'none', 'rigbox:1', '/bin/sleep', '1000');
  t.teardown(() => docker('rm', '-f', 'unasked'));
  const hostMounts = ['proc', 'sys', 'etc'].flatMap((name) => ['-v', `/${name}:/host/${name}:ro`]);
  const command = (words: string): string =>
    `node ${root}/build/src/cli/rawbpf.js ${words} --host-root /host -o json 2>/tmp/notices; echo "exit $?"; cat /tmp/notices`;
  const said = (words: string): readonly string[] =>
    docker(
      ...['run', '--rm', '--network', 'none', '--cap-add', 'ALL', '--cap-drop', 'SYS_RESOURCE', ...unconfined, ...mounts, ...hostMounts],
      ...['--tmpfs', '/tmp', '-e', 'HOME=/tmp', 'rigbox:1', 'sh', '-c', command(words)],
    ).split('\n');
  const list = said('list-containers');
  const end = list.indexOf('exit 0');
  const pid = Number(docker('inspect', '-f', '{{.State.Pid}}', 'unasked'));
  t.ok(end > 0 && list.slice(0, end).some((line) => line.includes(`"containerId":"${id}"`) && line.includes(`"containerPid":${pid},`)));
  t.same(list.slice(end + 1), ['rawbpf: no container runtime answers here: containers have ids, and no names']);
  // Of the process ids in events `run` has another notice.
  const ofRun = said('run trace_exec --containers-only --timeout 3').filter(
    (line) => line.startsWith('rawbpf: ') && line.includes('runtime'),
  );
  t.same(ofRun, list.slice(end + 1), 'run says the same, once');
  t.end();
});

// Docker 20.10 does not know CAP_BPF: namespaces made by hand, with a /proc of their own, and the host's root beside it.
void t.test('the capabilities that the docs name are enough where tracefs is mounted', (t) => {
  docker('run', '-d', '--name', 'there', '--network', 'none', 'rigbox:1', '/bin/sleep', '1000');
  t.teardown(() => docker('rm', '-f', 'there'));
  const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-root-'));
  t.teardown(() => rmdirSync(folder));
  const script = `mount --rbind / ${folder}; mount --make-rprivate ${folder}; mount -t proc proc /proc; mount -t tracefs tracefs /sys/kernel/tracing
    exec setpriv --bounding-set=-all,+bpf,+perfmon,+sys_ptrace --inh-caps=-all "$@"`;
  const program = ['node', path.join(root, 'build/src/cli/rawbpf.js'), 'list-containers', '-o', 'json'];
  const places = ['--host-root', folder, '--docker-socketpath', rig.sockets.docker];
  const { stdout, stderr } = spawnSync('unshare', ['-mpf', 'sh', '-c', script, 'sh', ...program, ...places], { encoding: 'utf8' });
  t.notMatch(stderr, /looked for in \/proc/, 'the programs are loaded');
  const list = stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as { runtime: { containerName: string; containerPid: number } });
  t.equal(
    list.find(({ runtime }) => runtime.containerName === 'there')?.runtime.containerPid,
    Number(docker('inspect', '-f', '{{.State.Pid}}', 'there')),
  );
  t.end();
});

void t.test('namespaces that a container makes for a user of its own are its own', async (t) => {
  const traced = await traceExec({ names: names() });
  const seccomp = ['--security-opt', 'seccomp=unconfined'];
  docker('run', '--rm', '--name', 'maker', '--network', 'none', ...seccomp, 'rigbox:1', 'unshare', '-Urm', '/bin/true', tag, 'user');
  const execs = (await traced.stop(tag)).filter(({ args }) => args[0] === '/bin/true');
  t.same(
    execs.map(({ args, runtime }) => [args[2], runtime.containerName, runtime.innerContainerId]),
    [['user', 'maker', '']],
  );
  t.end();
});

void t.test("docker's own profile, and others: the call or the capability that is missing is named", (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-profiles-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const said = (call: string | null, ...args: readonly string[]): string => {
    const profile = path.join(folder, `${call}.json`);
    const syscalls = [{ names: [call], action: 'SCMP_ACT_ERRNO' }];
    if (call !== null) writeFileSync(profile, JSON.stringify({ defaultAction: 'SCMP_ACT_ALLOW', syscalls }));
    const option = call === null ? [] : ['--security-opt', `seccomp=${profile}`];
    const command = `grep ^Seccomp: /proc/self/status; node ${root}/build/src/cli/rawbpf.js list-containers --host-root /host 2>&1`;
    return docker(
      ...['run', '--rm', '--network', 'none', ...args, ...option, ...mounts, '-v', '/proc:/host/proc:ro', '-e', 'HOME=/tmp'],
      ...['rigbox:1', 'sh', '-c', command],
    );
  };
  const own = said(null);
  t.match(own, /^Seccomp:\s+2$/m, 'its own profile');
  t.match(own, /lacks CAP_BPF.*give it CAP_BPF and CAP_PERFMON/);
  t.notMatch(said(null, '--cap-add', 'SYS_ADMIN'), /looked for in \/proc/, 'with CAP_SYS_ADMIN it lets BPF through');
  t.match(said('bpf', '--cap-add', 'SYS_ADMIN'), /syscall bpf\(.*a seccomp filter is active and forbids bpf\(\)/);
  t.match(said('perf_event_open', '--cap-add', 'SYS_ADMIN'), /a seccomp filter is active and forbids perf_event_open\(\)/);
  t.end();
});

void t.test('without a capability it says which is missing, and looks into /proc', (t) => {
  const said = docker(
    ...[
      'run',
      '--rm',
      '--network',
      'none',
      '--cap-drop',
      'ALL',
      ...unconfined,
      ...mounts,
      '-v',
      '/proc:/host/proc:ro',
      '-e',
      'HOME=/tmp',
      'rigbox:1',
    ],
    ...['sh', '-c', `node ${root}/build/src/cli/rawbpf.js list-containers --host-root /host 2>&1`],
  );
  t.match(said, /CAP_BPF/);
  t.end();
});

/** The rig's client as a command of its own. */
function rigCommand(args: readonly string[]): readonly string[] {
  return [process.execPath, path.join(root, 'scripts/containers/rig.mjs'), '--dir', path.join(rig.dir, 'rig'), 'exec', 'docker', ...args];
}
