import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import t from 'tap';
import { createBackend, defaultSys, hostArch } from '../../src/sys/default-sys.ts';
import { FaultInjector } from '../../src/sys/fault-injector.ts';
import { namespaceInode } from '../../src/sys/namespaces.ts';
import { inEachNetworkNamespace, networkNamespaces } from '../../src/sys/network-namespaces.ts';
import { Sys } from '../../src/sys/sys.ts';
import { namespaceOf } from '../support/process.ts';

const sys = defaultSys();

void t.test('work in every network namespace', async (t) => {
  // `exec` keeps the pid: the shell says so once it is in its namespace.
  const child = spawn('unshare', ['--net', 'sh', '-c', 'echo in; exec sleep 100'], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  const [home, other] = [namespaceOf('net'), namespaceOf('net', child.pid)];
  t.not(home, other);
  const listed = networkNamespaces().map(({ inode }) => inode);
  t.equal(listed[0], home, 'our own is the first');
  t.ok(listed.includes(other));
  t.equal(new Set(listed).size, listed.length, 'each once');

  const refused: number[] = [];
  const seen = inEachNetworkNamespace(
    sys,
    () => namespaceInode('self', 'net'),
    ({ inode }) => refused.push(inode),
  );
  t.ok(seen.includes(other) && seen[0] === home);
  t.same(refused, []);
  t.equal(namespaceInode('self', 'net'), home, 'and back');
  t.throws(
    () =>
      inEachNetworkNamespace(
        sys,
        () => {
          if (namespaceInode('self', 'net') !== home) throw new Error('from there');
        },
        () => {},
      ),
    /from there/,
  );
  t.equal(namespaceInode('self', 'net'), home, 'and back after an error');

  const without = new Sys(
    new FaultInjector(createBackend(), hostArch(), [{ when: ({ name }) => name === 'setns', errno: 'EPERM' }]),
    hostArch(),
  );
  const told: number[] = [];
  t.same(
    inEachNetworkNamespace(
      without,
      () => namespaceInode('self', 'net'),
      ({ inode }, errno) => told.push(inode, errno),
    ),
    [home],
    'without the right to enter others: ours alone',
  );
  t.ok(told.includes(other) && told.includes(-1));
});

void t.test('no way back ends the process', (t) => {
  const url = (name: string): string => new URL(`../../src/sys/${name}.js`, import.meta.url).href;
  const script = `
    const { createBackend, hostArch } = await import('${url('default-sys')}');
    const { FaultInjector } = await import('${url('fault-injector')}');
    const { Sys } = await import('${url('sys')}');
    const { openNamespace, inNamespace } = await import('${url('namespaces')}');
    const sys = new Sys(new FaultInjector(createBackend(), hostArch(), [{ when: ({ name }) => name === 'setns', errno: 'EPERM', skip: 1 }]), hostArch());
    inNamespace(sys, openNamespace(sys, 'self', 'net'), 'net', () => console.log('there'));
    console.log('never');`;
  const { signal, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
  t.equal(signal, 'SIGABRT');
  t.equal(stdout, 'there\n');
  t.match(stderr, /no way back from a namespace of kind net: setns gave EPERM/);
  t.end();
});
