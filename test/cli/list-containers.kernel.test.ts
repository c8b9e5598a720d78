import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const program = fileURLToPath(new URL('../../src/cli/rawbpf.js', import.meta.url));
const nowhere = ['docker', 'podman', 'containerd', 'crio'].flatMap((kind) => [`--${kind}-socketpath`, '/nonexistent/socket']);

function run(...args: readonly string[]): { readonly status: number | null; readonly out: string; readonly err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, 'list-containers', ...args], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  return { status, out: stdout, err: stderr };
}

// Others may run containers on this machine: what is there is not asserted, only that it is said rightly.
t.test('without any runtime that answers, containers are still listed, by what the kernel tells', async (t) => {
  const { status, out, err } = run('-o', 'json', ...nowhere);
  t.equal(status, 0, err);
  for (const line of out.split('\n').filter((each) => each !== '')) {
    const container = JSON.parse(line) as { runtime: { containerId: string; containerName: string }; k8s: object; mntns: number };
    t.not(container.runtime.containerId, '');
    t.ok(container.mntns > 0);
    t.ok('podName' in container.k8s);
  }
  const columns = run(...nowhere);
  t.equal(columns.status, 0);
  t.match(columns.out, /^ +RUNTIME +ID +PID +NAME +IMAGE +STARTED\n/);
});

t.test('watching ends in time', async (t) => {
  const { status, out, err } = run('--watch', '-t', '0.5', '--containername', 'surely-nobody', ...nowhere);
  t.equal(status, 0, err);
  t.match(out, /^CHANGE +RUNTIME +ID +PID +NAME +IMAGE\n$/);
});

t.test('what was typed wrong', async (t) => {
  for (const args of [['-t', '1'], ['x'], ['--k8s', '--kubeconfig'], ['-o', 'yaml']]) t.equal(run(...args).status, 2, args.join(' '));
  t.match(run('--kubeconfig', '/nonexistent/config').err, /the kubeconfig cannot be used \(file \/nonexistent\/config\)/);
});
