// QEMU: its command line, and one run of it.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { emulator } from './emulator.mjs';

export const TIMED_OUT = 124;

/** Seconds in which a guest gives a sign of life; emulated and on a busy machine it has taken 60. */
const COMES_UP = { kvm: 60, tcg: 300 };

/** Emulation is tried twice: on a busy machine a kernel now and then fails to calibrate its clock. */
const EMULATION = ['tcg', 'tcg'];

/** The accelerators to try, in order. */
export function accelerators(options) {
  if (options.accel !== 'auto') return options.accel === 'tcg' ? EMULATION : [options.accel];
  const same = options.arch === (process.arch === 'arm64' ? 'arm64' : 'amd64');
  // kvm_pvm and the like open /dev/kvm too, but run a stock kernel by emulating each of its instructions: not for us.
  const hardware =
    process.arch === 'arm64' ? fs.existsSync('/dev/kvm') : ['kvm_intel', 'kvm_amd'].some((m) => fs.existsSync(`/sys/module/${m}`));
  try {
    fs.accessSync('/dev/kvm', fs.constants.R_OK | fs.constants.W_OK);
  } catch {
    return EMULATION;
  }
  return same && hardware ? ['kvm', ...EMULATION] : EMULATION;
}

function qemuArgs(accel, kernelDir, tmp, options) {
  const arm = options.arch === 'arm64';
  const share = (tag, dir, flags) => [
    '-fsdev',
    `local,id=${tag},path=${dir.replaceAll(',', ',,')},security_model=none,multidevs=remap${flags}`,
    '-device',
    `virtio-9p-pci,fsdev=${tag},mount_tag=${tag}`,
  ];
  const port = (name, nr) => [
    '-chardev',
    `socket,id=${name},path=${tmp}/${name}`,
    '-device',
    `virtserialport,nr=${nr},chardev=${name},name=${name}`,
  ];
  const cmdline = [
    `console=${arm ? 'ttyAMA0' : 'ttyS0'}`,
    'loglevel=5',
    'panic=-1',
    'mitigations=off',
    'nokaslr',
    'random.trust_cpu=on',
    'lsm=landlock,lockdown,yama,bpf',
    options.append,
  ].join(' ');
  const { command, firmware } = emulator(options);
  return [
    command,
    ...firmware.flatMap((folder) => ['-L', folder]),
    '-nodefaults',
    '-no-user-config',
    '-display',
    'none',
    '-no-reboot',
    '-M',
    arm ? 'virt,gic-version=3,memory-backend=ram' : 'pc,memory-backend=ram',
    '-accel',
    accel === 'tcg' ? 'tcg,thread=multi' : accel,
    '-cpu',
    accel === 'kvm' ? 'host' : arm ? 'max,pauth-impdef=on' : 'max,la57=off',
    '-smp',
    options.cpus,
    '-m',
    options.mem,
    '-object',
    options['no-ringbuf']
      ? `memory-backend-file,id=ram,size=${options.mem}M,mem-path=${tmp}/ram,share=on`
      : `memory-backend-ram,id=ram,size=${options.mem}M`,
    '-kernel',
    path.join(kernelDir, 'kernel'),
    '-initrd',
    path.join(tmp, 'initrd'),
    '-append',
    cmdline,
    '-chardev',
    `file,id=console,path=${tmp}/console`,
    '-serial',
    'chardev:console',
    '-device',
    'virtio-serial-pci',
    ...port('ctl', 1),
    ...port('out', 2),
    ...port('err', 3),
    ...share('root', options.root, ',readonly=on'),
    ...share('modules', path.join(kernelDir, 'lib/modules'), ',readonly=on'),
    ...options.out.flatMap((d, i) => share(`out${i}`, d, '')),
  ];
}

// With --no-ringbuf: clear slot 27 of the kernel's table of map types in the guest's RAM, as if the kernel had none.
function removeRingbuf(tmp, symbolAddress) {
  const kernelMap = 0xffffffff80000000n; // with nokaslr, the kernel image's virtual addresses start here at physical 0
  const offset = BigInt('0x' + symbolAddress) - kernelMap + 27n * 8n;
  const fd = fs.openSync(path.join(tmp, 'ram'), 'r+');
  try {
    const old = Buffer.alloc(8);
    fs.readSync(fd, old, 0, 8, Number(offset));
    if (old.readBigUInt64LE() < kernelMap) throw new Error(`--no-ringbuf: no map operations at ${symbolAddress}[27]`);
    fs.writeSync(fd, Buffer.alloc(8), 0, 8, Number(offset));
  } finally {
    fs.closeSync(fd);
  }
}

// Boots once; resolves to { code } or, when the guest never came up, to { failed: why }.
export function boot(accel, kernelDir, tmp, deadline, options) {
  return new Promise((resolve) => {
    const servers = [],
      ended = [];
    let code,
      ready = false,
      why,
      qemuGone = false;
    const serve = (name, onSocket) => {
      fs.rmSync(`${tmp}/${name}`, { force: true });
      ended.push(
        new Promise((done) =>
          servers.push(
            net
              .createServer((s) => {
                s.on('error', () => {});
                s.on('close', done);
                onSocket(s);
              })
              .listen(`${tmp}/${name}`),
          ),
        ),
      );
    };
    serve('out', (s) => s.pipe(process.stdout, { end: false }));
    serve('err', (s) => s.pipe(process.stderr, { end: false }));
    serve('ctl', (s) => {
      let text = '';
      s.setEncoding('utf8').on('data', (d) => {
        text += d;
        for (let nl; (nl = text.indexOf('\n')) >= 0; text = text.slice(nl + 1)) {
          const [word, ...rest] = text.slice(0, nl).split(' ');
          if (word === 'poke') {
            try {
              removeRingbuf(tmp, rest[0]);
            } catch (e) {
              stop(e.message);
            }
            s.write('done\n');
          }
          if (word === 'ready') {
            ready = true;
            clearTimeout(bootTimer);
            options.say(`${accel}: command starts ${Date.now() - bootAt} ms after qemu; ${used(qemu.pid)}`);
          }
          if (word === 'exit') {
            code = Number(rest[0]);
            options.say(
              `command ended ${Date.now() - bootAt} ms after qemu's start; guest memory total/available MB: ${rest[1]} ${rest[2]}; ${used(qemu.pid)}`,
            );
            setTimeout(() => qemu.kill('SIGKILL'), 5000).unref();
          }
        }
      });
    });
    const bootAt = Date.now(),
      [cmd, ...args] = qemuArgs(accel, kernelDir, tmp, options);
    // pdeathsig: when this process is killed the hard way, its qemu goes too
    const qemu = spawn('setpriv', ['--pdeathsig', 'KILL', '--', cmd, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    let qemuSays = '';
    for (const s of [qemu.stdout, qemu.stderr])
      s.on('data', (d) => {
        qemuSays += d;
      });
    const stop = (reason) => {
      why ??= reason;
      qemu.kill('SIGKILL');
    };
    const timer = setTimeout(() => {
      code = TIMED_OUT;
      stop('timed out');
    }, deadline - Date.now());
    const bootTimer = setTimeout(() => {
      stop(`no sign of life under ${accel} within ${COMES_UP[accel]} s`);
    }, COMES_UP[accel] * 1000);
    const onSignal = (sig) => {
      qemu.kill('SIGKILL');
      code = 128 + os.constants.signals[sig];
    };
    for (const sig of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(sig, onSignal);
    qemu.on('error', (e) => {
      why = e.message;
    });
    qemu.on('close', async () => {
      if (qemuGone) return;
      qemuGone = true;
      clearTimeout(timer);
      clearTimeout(bootTimer);
      for (const sig of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.removeListener(sig, onSignal);
      for (const s of servers) s.close();
      await Promise.race([Promise.all(ended), new Promise((r) => setTimeout(r, 1000))]);
      if (code === TIMED_OUT && why) process.stderr.write(`vm-run: timed out after ${options.timeout} s\n`);
      resolve(
        code !== undefined ? { code } : { failed: why ?? `the VM stopped by itself${qemuSays ? ': ' + qemuSays.trim() : ''}`, ready },
      );
    });
  });
}

// What a process has used so far: peak memory and processor time (the clock alone misleads on a busy machine).
function used(pid) {
  const memory = fs.readFileSync(`/proc/${pid}/status`, 'utf8').match(/VmHWM:\s*(\d+)/)?.[1];
  const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/.*\) /, '').split(' ');
  return `qemu has used ${Math.round(memory / 1024)} MB, ${(Number(stat[11]) + Number(stat[12])) / 100} s of processor`;
}
