import { spawnSync } from 'node:child_process';
import t from 'tap';

const library = new URL('../../src/index.js', import.meta.url).href;

/** What a program writes in a mount namespace without one of the kernel's file systems. */
function without(mount: string, code: string): string {
  // What the mount lay on may have files too (a guest's root is its host's): nothing is to be seen there.
  const script = 'umount -l "$0" && mount -t tmpfs none "$0" && exec "$1" --input-type=module -e "$2"';
  const args = ['-m', 'sh', '-c', script, mount, process.execPath, `import * as rawbpf from '${library}';\n${code}`];
  const { stdout, stderr } = spawnSync('unshare', args, { encoding: 'utf8', timeout: 60_000 });
  return stdout + stderr;
}

const report = `
function attempt(work) {
  try {
    console.log('done', work());
  } catch (error) {
    console.log(error.code, error.message);
  }
}
const kernel = rawbpf.defaultKernel();
`;

t.test('without sysfs no value of all CPUs is read: the kernel would write past its buffer', (t) => {
  const map = `{ type: 'BPF_MAP_TYPE_PERCPU_ARRAY', keySize: 4, valueSize: 8, maxEntries: 1 }`;
  const told = without('/sys', `${report} attempt(() => rawbpf.createMap(kernel, ${map}).lookup(new Uint8Array(4)).length);`);
  t.match(told, /^E_CPUS it is not known how many CPUs .*mount sysfs/);
  t.end();
});

t.test('without /proc a file system of our own is out of reach, and that is what is told', (t) => {
  const told = without('/proc', `${report} attempt(() => rawbpf.listTracepoints(kernel).length > 100);`);
  // Where somebody has mounted tracefs it is not known without /proc.
  t.match(told, /^E_PROC tracefs is not mounted, and without \/proc .*mount \/proc/);
  t.end();
});
