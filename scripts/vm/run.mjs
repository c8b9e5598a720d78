#!/usr/bin/env node
// Runs a command as root inside a small VM that boots one of Debian's own kernels on top of this machine's root
// filesystem. Needs: qemu-system-x86 (or -arm), kmod, xz-utils, apt, util-linux; no npm dependency. See USAGE.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { initramfs } from './initramfs.mjs';
import { fetchKernel } from './packages.mjs';
import { accelerators, boot } from './qemu.mjs';

const USAGE = `node scripts/vm/run.mjs [options] [--] COMMAND [ARG...]

The guest sees this machine's root filesystem (read-only, with a RAM overlay: writes vanish), has no network but lo,
starts COMMAND as root in the current folder with PATH, HOME and the variables named by --env, and passes on its
stdout, its stderr and its exit code. stdin is empty.

  --kernel K     5.10, 6.1, 6.12, 7.3, sid, or SUITE[:PACKAGE], e.g. trixie-backports:linux-image-7.0.13+deb13-amd64
                 (default 6.1); fetched through apt once, then kept in --cache
  --out DIR      share DIR with the guest read-write, at the same path (may be repeated)
  --env N[=V]    set (or pass on) an environment variable (may be repeated)
  --timeout S    give up after S seconds, boot included (default 600)
  --qemu Q       auto (default): version 10 or newer, fetched from Debian's backports where the system's is older;
                 system: whatever is installed
  --accel A      auto (default), kvm or tcg; auto takes kvm only where the processor's own virtualisation is there,
                 and falls back to tcg when the guest does not come up
  --cpus N       (default 2)          --mem MB     (default 1024)
  --append ARGS  more kernel arguments (default has lsm=landlock,lockdown,yama,bpf; a later lsm= wins)
  --no-ringbuf   take BPF_MAP_TYPE_RINGBUF out of the running kernel, as before Linux 5.8 (x86-64 only)
  --root DIR     another root filesystem (default /)       --arch A   amd64 or arm64 (default: this machine's)
  --console F    keep the kernel's console log in F        --cache DIR  (default ~/.cache/vm-run)
  --fetch        only fetch the kernel                     --verbose  print timings

Exit code: the command's; 124 on time-out; 125 when the VM failed (the end of its console log is printed).`;

const known = {
  kernel: { type: 'string', default: '6.1' },
  out: { type: 'string', multiple: true, default: [] },
  env: { type: 'string', multiple: true, default: [] },
  timeout: { type: 'string', default: '600' },
  qemu: { type: 'string', default: 'auto' },
  accel: { type: 'string', default: 'auto' },
  cpus: { type: 'string', default: '2' },
  mem: { type: 'string', default: '1024' },
  append: { type: 'string', default: '' },
  root: { type: 'string', default: '/' },
  arch: { type: 'string', default: process.arch === 'arm64' ? 'arm64' : 'amd64' },
  console: { type: 'string' },
  cache: { type: 'string', default: path.join(os.homedir(), '.cache/vm-run') },
  'no-ringbuf': { type: 'boolean', default: false },
  fetch: { type: 'boolean', default: false },
  verbose: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
};

const RIG_FAILED = 125;
const started = Date.now();

async function main() {
  let command, options;
  try {
    // everything from the first word that is not an option (or from after --) is the command's, its options included
    const argv = process.argv.slice(2);
    let i = 0;
    while (i < argv.length && argv[i].startsWith('--') && argv[i] !== '--') i += known[argv[i].slice(2)]?.type === 'string' ? 2 : 1;
    options = parseArgs({ args: argv.slice(0, i), options: known }).values;
    command = argv.slice(argv[i] === '--' ? i + 1 : i);
  } catch (e) {
    process.stderr.write(`vm-run: ${e.message}\n`);
    return RIG_FAILED;
  }
  if (options.help || (!command.length && !options.fetch)) {
    process.stdout.write(USAGE + '\n');
    return options.help ? 0 : RIG_FAILED;
  }
  options.say = options.verbose ? (text) => process.stderr.write(`vm-run: ${text}\n`) : () => {};
  if (options['no-ringbuf'] && options.arch !== 'amd64') {
    process.stderr.write('vm-run: --no-ringbuf is for amd64 only\n');
    return RIG_FAILED;
  }
  options.out = options.out.map((d) => path.resolve(d));
  for (const d of options.out) fs.mkdirSync(d, { recursive: true });

  const kernelDir = fetchKernel(options);
  options.say(fs.readFileSync(path.join(kernelDir, 'packages'), 'utf8').trim().split('\n')[0] + `, ready after ${Date.now() - started} ms`);
  if (options.fetch) return 0;
  const deadline = Date.now() + Number(options.timeout) * 1000;
  const tmp = fs.mkdtempSync(path.join(options['no-ringbuf'] && fs.existsSync('/dev/shm') ? '/dev/shm' : os.tmpdir(), 'vm-run-'));
  try {
    fs.writeFileSync(path.join(tmp, 'initrd'), initramfs(kernelDir, command, options));
    for (const accel of accelerators(options)) {
      const result = await boot(accel, kernelDir, tmp, deadline, options);
      if (options.console) fs.copyFileSync(path.join(tmp, 'console'), options.console);
      if (result.code !== undefined) return result.code;
      process.stderr.write(`vm-run: ${accel}: ${result.failed}\n`);
      const log = path.join(tmp, 'console');
      if (fs.existsSync(log)) process.stderr.write(fs.readFileSync(log, 'utf8').split('\n').slice(-30).join('\n'));
      if (result.ready) break; // the command had begun: not to be run twice
    }
    return RIG_FAILED;
  } finally {
    fs.rmSync(tmp, { recursive: true, force: true });
  }
}

process.exitCode = await main().catch((e) => {
  process.stderr.write(`vm-run: ${e.stderr || e.stack}\n`);
  return RIG_FAILED;
});
