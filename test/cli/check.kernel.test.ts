import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { rawbpfPath } from '../support/run-gadget.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));

interface Checked {
  readonly loaded: boolean;
  readonly error: { readonly message: string } | null;
}

function check(...args: readonly string[]): { readonly code: number | null; readonly lines: readonly Checked[]; readonly text: string } {
  const { status, stdout } = spawnSync(process.execPath, [rawbpfPath, 'check', ...args], { cwd: root, encoding: 'utf8' });
  const lines = stdout.startsWith('{')
    ? stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Checked)
    : [];
  return { code: status, lines, text: stdout };
}

/** They ask which process a socket belongs to: of a struct that no kernel has. */
const askers = ['gadgets/trace_dns/program.bpf.o', 'gadgets/trace_sni/program.bpf.o', 'gadgets/tcpdump/program.bpf.o'];

t.setTimeout(110_000);

void t.test('gadgets that ask who owns a socket load as run would load them', (t) => {
  const { code, lines } = check('-o', 'json', ...askers);
  t.same(
    lines.map(({ loaded, error }) => [loaded, error]),
    askers.map(() => [true, null]),
  );
  t.equal(code, 0);
  t.end();
});

void t.test('and break on no kernel for that', (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-check-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  copyFileSync('/sys/kernel/btf/vmlinux', path.join(folder, `${os.release()}.btf`));
  const { code, text } = check('--kernels', folder, ...askers);
  t.equal(code, 0, text);
  t.match(text, /dns_message +ok/);
  t.notMatch(text, /breaks/);
  // libbpf's own judgement: it knows nothing of that struct.
  t.match(check('--kernels', folder, '--strict', ...askers).text, /there is no gadget_socket_value/);
  t.end();
});
