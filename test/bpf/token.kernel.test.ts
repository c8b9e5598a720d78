import t from 'tap';
import { spawn, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Kernel } from '../../src/bpf/kernel/kernel.ts';
import { createToken } from '../../src/bpf/token.ts';
import { FS } from '../../src/sys/constants.ts';
import { createBackend, hostArch } from '../../src/sys/default-sys.ts';
import { FaultInjector, failNamed } from '../../src/sys/fault-injector.ts';
import { openFs } from '../../src/sys/detached-mount.ts';
import { Sys } from '../../src/sys/sys.ts';
import { throwsErrno } from './throws-errno.ts';

const { sys, version } = new Kernel();
const hasTokens = version >= 0x60900;
const hasUserNamespaces = spawnSync('unshare', ['-U', '-r', 'true']).status === 0;
const why = hasTokens ? (hasUserNamespaces ? false : 'no user namespaces here') : 'tokens came with Linux 6.9';

t.test('a program is loaded in a user namespace by what was delegated to it', { skip: why }, async (t) => {
  const child = spawn('unshare', ['-U', '-r', '-m', process.execPath, fileURLToPath(new URL('token-child.js', import.meta.url))], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const theirs = Number((await lines.next()).value);
  t.ok(theirs >= 0, `fsopen in the namespace: ${theirs}`);
  // The same open file, here: who may delegate is who is privileged outside.
  const pidfd = sys.call('pidfd_open', child.pid as number, 0);
  const context = sys.call('pidfd_getfd', pidfd, theirs, 0);
  t.ok(context >= 0, `pidfd_getfd: ${context}`);
  const text = (value: string): Uint8Array => Buffer.from(`${value}\0`);
  for (const option of ['delegate_cmds', 'delegate_maps', 'delegate_progs', 'delegate_attachs']) {
    t.equal(sys.call('fsconfig', context, FS.FSCONFIG_SET_STRING, text(option), text('any'), 0), 0, option);
  }
  t.equal(sys.call('fsconfig', context, FS.FSCONFIG_CMD_CREATE, 0, 0, 0), 0);
  child.stdin.end();
  const result = JSON.parse(String((await lines.next()).value)) as Record<string, unknown>;
  t.match(result, { without: 'EPERM', with: '1 loaded' });
  t.notOk(result['error']);
  for (const fd of [context, pidfd]) sys.call('close', fd);
});

t.test('where there is none', async (t) => {
  const bpffs = openFs(sys, 'bpf');
  if (hasTokens) throwsErrno(t, () => createToken(sys, bpffs.path), 'EOPNOTSUPP');
  const faults = new FaultInjector(createBackend(), hostArch(), [failNamed('BPF_TOKEN_CREATE', 'EINVAL')]);
  t.throws(() => createToken(new Sys(faults, hostArch()), bpffs.path), { code: 'E_TOKEN' });
  throwsErrno(t, () => createToken(sys, '/no/such/folder'), 'ENOENT');
  bpffs.close();
});
