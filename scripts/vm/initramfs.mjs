// What the guest starts from: busybox, the modules it needs to reach its root, and the job.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { INIT, INIT2 } from './guest.mjs';

/** The job's exit code when it cannot even start. */
const RIG_FAILED = 125;

// The modules the guest needs to reach its root filesystem, dependencies first; [] where they are built in.
function bootModules(modulesDir) {
  const deps = new Map(); // module name -> [its path, paths it depends on]
  for (const line of fs.readFileSync(path.join(modulesDir, 'modules.dep'), 'utf8').trim().split('\n')) {
    const [file, rest] = line.split(':');
    deps.set(
      path
        .basename(file)
        .replace(/\.ko.*$/, '')
        .replaceAll('-', '_'),
      [file, ...rest.trim().split(/\s+/).filter(Boolean)],
    );
  }
  const order = [];
  for (const name of ['virtio_pci', 'virtio_mmio', 'virtio_console', '9pnet_virtio', '9p', 'overlay'])
    for (const file of (deps.get(name) ?? []).toReversed()) if (!order.includes(file)) order.push(file);
  return order.map((file) => path.join(modulesDir, file));
}

function cpio(entries) {
  // "newc" format; entries: [name, mode, content]
  const chunks = [],
    pad = (n) => chunks.push(Buffer.alloc((4 - (n % 4)) % 4));
  for (const [name, mode, content = Buffer.alloc(0)] of [...entries, ['TRAILER!!!', 0]]) {
    const body = Buffer.from(content),
      hex = (n) => n.toString(16).padStart(8, '0');
    const header = '070701' + [chunks.length, mode, 0, 0, 1, 0, body.length, 0, 0, 0, 0, name.length + 1, 0].map(hex).join('');
    chunks.push(Buffer.from(header + name + '\0'));
    pad(header.length + name.length + 1);
    chunks.push(body);
    pad(body.length);
  }
  return Buffer.concat(chunks);
}

const quote = (s) => `'${s.replaceAll("'", "'\\''")}'`;

/** The cpio archive for a kernel and a command. */
export function initramfs(kernelDir, command, options) {
  const version = fs.readdirSync(path.join(kernelDir, 'lib/modules'))[0];
  const modules = bootModules(path.join(kernelDir, 'lib/modules', version));
  const env = { PATH: process.env.PATH, HOME: process.env.HOME ?? '/root', LANG: process.env.LANG ?? 'C.UTF-8', VM_RUN: options.kernel };
  for (const e of options.env) {
    const [name, ...value] = e.split('=');
    const v = value.length ? value.join('=') : process.env[name];
    if (v !== undefined) env[name] = v;
  }
  const job =
    Object.entries(env)
      .map(([k, v]) => `export ${k}=${quote(v)}\n`)
      .join('') + `cd ${quote(options.root === '/' ? process.cwd() : '/')} || exit ${RIG_FAILED}\nexec ${command.map(quote).join(' ')}\n`;
  const plain = (f) => (f.endsWith('.xz') ? execFileSync('xz', ['-dc', f], { maxBuffer: 1 << 28 }) : fs.readFileSync(f));
  const base = (f) => path.basename(f).replace(/\.xz$/, '');
  const DIR = 0o40755,
    EXE = 0o100755,
    TEXT = 0o100644;
  return cpio([
    ...['bin', 'proc', 'sys', 'dev', 'mod', 'lower', 'rw', 'new'].map((d) => [d, DIR]),
    ['bin/busybox', EXE, fs.readFileSync(path.join(kernelDir, 'busybox'))],
    ['init', EXE, INIT],
    ['init2', TEXT, (options['no-ringbuf'] ? 'vmrun_poke=1\n' : '') + INIT2],
    ['job', TEXT, job],
    ['preload', TEXT, options.root === '/' && parseInt(version) < 6 ? process.execPath + '\n' : ''],
    ['outs', TEXT, options.out.map((d, i) => `out${i} ${d}\n`).join('')],
    ['mod/order', TEXT, modules.map((f) => base(f) + '\n').join('')],
    ...modules.map((f) => ['mod/' + base(f), TEXT, plain(f)]),
  ]);
}
