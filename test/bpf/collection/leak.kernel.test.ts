import t from 'tap';
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { tryPrograms } from '../../../src/bpf/collection/check.ts';
import { loadCollection } from '../../../src/bpf/collection/load.ts';
import { ids } from '../../../src/bpf/ids.ts';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { mapInfo } from '../../../src/bpf/map/info.ts';
import { programInfo } from '../../../src/bpf/program/info.ts';
import { bpf } from '../../../src/sys/bpf.ts';
import { createBackend, hostArch } from '../../../src/sys/default-sys.ts';
import { RawbpfError } from '../../../src/error.ts';
import { type Fault, FaultInjector } from '../../../src/sys/fault-injector.ts';
import type { ErrnoName } from '../../../src/sys/errno.ts';
import { Sys } from '../../../src/sys/sys.ts';
import { slowness } from '../../support/patience.ts';
import { openRuntime } from '../runtime.ts';

const arch = hostArch();
const plain = new Sys(createBackend(), arch);
// Others may use the same fixture at the same time: the maps are given names of this process.
const ours = `lk${process.pid}.`;
const opened = openRuntime(new Kernel());
const spec = { ...opened, maps: opened.maps.map((map, i) => ({ ...map, libbpfName: `${ours}${i}` })) };

/** A BPF file system for this thread alone; null where that is impossible. */
const bpffs: string | null = mountBpffs();

function mountBpffs(): string | null {
  const folder = mkdtempSync(path.join(tmpdir(), 'rawbpf-bpffs-'));
  const type = Buffer.from('bpf\0');
  // In a mount namespace of its own, so that nothing stays mounted.
  if (plain.call('unshare', 0x20000) < 0) return null;
  if (plain.call('mount', Buffer.from('none\0'), Buffer.from('/\0'), null, 0x44000, null) < 0) return null;
  return plain.call('mount', type, Buffer.from(`${folder}\0`), type, 0, null) < 0 ? null : folder;
}

/** A kernel whose calls can be made to fail from now on: facts that are read once are read before. */
function faultyKernel(faults: readonly Fault[]): { kernel: Kernel; injector: FaultInjector } {
  const injector = new FaultInjector(createBackend(), arch, faults);
  return { kernel: new Kernel({ sys: new Sys(injector, arch) }), injector };
}

function openFds(): string[] {
  return readdirSync('/proc/self/fd')
    .map((fd) => {
      try {
        return `${fd}=${readlinkSync(`/proc/self/fd/${fd}`)}`;
      } catch {
        // The folder's own descriptor, gone again.
        return '';
      }
    })
    .filter((line) => line !== '')
    .toSorted();
}

/** Our maps in the kernel, and programs that use them: nearly all of the fixture's do. */
function objectsOfOurs(): string[] {
  const maps = new Set<number>();
  for (const id of ids(plain, 'map')) {
    const fd = bpf(plain, 'BPF_MAP_GET_FD_BY_ID', { map_id: id });
    if (fd < 0) continue;
    if (mapInfo(plain, fd).name.startsWith(ours)) maps.add(id);
    plain.call('close', fd);
  }
  const programs: string[] = [];
  for (const id of ids(plain, 'prog')) {
    const fd = bpf(plain, 'BPF_PROG_GET_FD_BY_ID', { prog_id: id });
    if (fd < 0) continue;
    if (programInfo(plain, fd).mapIds.some((map) => maps.has(map))) programs.push(`prog ${id}`);
    plain.call('close', fd);
  }
  return [...Array.from(maps, (id) => `map ${id}`), ...programs];
}

/**
 * The kernel frees a map or program a grace period after its last user has gone. Nobody may look before: opening a prog
 * array by its id while it is being cleared leaks it (prog_array_map_clear() takes a reference for each close, its work
 * runs once).
 */
async function nothingStays(before: readonly string[]): Promise<string[]> {
  for (let tries = 0; ; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 300));
    const left = objectsOfOurs().filter((object) => !before.includes(object));
    if (left.length === 0 || tries === 10) return left;
  }
}

t.test('a load that fails at call N leaves nothing, for every N', { timeout: 110_000 * slowness }, async (t) => {
  const few = { programs: ['tail_target', 'through_tail_call', 'sum', 'on_tp_btf'] };
  const before = objectsOfOurs();
  // The first load reads what is read once (BTF, features of this process), and counts the calls.
  const { kernel, injector } = faultyKernel([]);
  let calls = 0;
  const counting = new FaultInjector(injector, arch, [
    {
      when: () => {
        calls++;
        return false;
      },
      errno: 'EIO',
    },
  ]);
  loadCollection(new Kernel({ sys: new Sys(counting, arch) }), spec, few).close();
  kernel.close();
  const total = calls;
  t.ok(total > 40, `${total} calls`);
  const fds = openFds();
  const errnos: readonly ErrnoName[] = ['ENOMEM', 'EPERM', 'EINVAL', 'EAGAIN'];
  const fatal = { once: 0, forGood: 0 };
  for (const [mode, step] of [
    ['once', 1],
    ['forGood', 3],
  ] as const) {
    for (let call = 0; call < total; call += step) {
      const errno = errnos[call % errnos.length] as ErrnoName;
      // close(2) always closes, whatever it returns: pretending otherwise would only leak.
      const hits = (index: number): boolean => (mode === 'once' ? index === call : index >= call);
      const faulty = faultyKernel([{ when: ({ index, name }) => hits(index) && name !== 'close', errno }]);
      try {
        loadCollection(faulty.kernel, spec, few).close();
      } catch (error) {
        fatal[mode]++;
        if (!(error instanceof RawbpfError)) t.fail(`call ${call} ${errno} ${mode}: ${String(error)}`);
      }
      faulty.kernel.close();
      const left = openFds().filter((fd) => !fds.includes(fd));
      if (left.length > 0) t.fail(`call ${call} failed with ${errno} ${mode}: left ${left.join()}`);
    }
  }
  // Single failures are partly got around: a refused load is tried again for its log, BTF can be done without.
  t.ok(fatal.once > 5 && fatal.forGood > total / 6, `of ${total} failures ${fatal.once} and ${fatal.forGood} were fatal`);
  t.same(await nothingStays(before), []);
});

t.test('a load and its end leave nothing; twice the same', async (t) => {
  const before = objectsOfOurs();
  const fds = openFds();
  const kernel = new Kernel();
  for (let i = 0; i < 2; i++) {
    const collection = loadCollection(kernel, spec);
    collection.attach();
    t.ok(collection.links.length >= 4);
    collection.variable('seen').get();
    collection.close();
    collection.close();
  }
  kernel.close();
  t.same(openFds(), fds);
  t.same(await nothingStays(before), []);
});

t.test('a program that cannot be attached takes the others back', async (t) => {
  const fds = openFds();
  const kernel = new Kernel();
  const collection = loadCollection(kernel, spec, { programs: ['on_tracepoint', 'misspelt', 'tail_target'] });
  const loaded = openFds().length;
  t.throws(() => collection.attach(), { code: 'E_TRACEPOINT', next: /syscalls\/sys_enter_getpgid/ });
  t.equal(openFds().length, loaded);
  t.same(collection.links, []);
  t.equal(collection.attach({ skipUnsupported: true }).length, 1);
  collection.close();
  t.same(openFds(), fds);
});

t.test('trying an object leaves nothing', async (t) => {
  const before = objectsOfOurs();
  const fds = openFds();
  const kernel = new Kernel();
  const verdict = tryPrograms(kernel, spec, { attach: true });
  kernel.close();
  t.equal(verdict.loaded, true);
  t.same(openFds(), fds);
  t.same(await nothingStays(before), []);
});

t.test('pins', { skip: bpffs === null ? 'no BPF file system can be mounted here' : false }, async (t) => {
  // A folder of our own, made on the way: the root has files of the kernel's.
  const folder = `${bpffs}/own`;
  const pinned = openRuntime(new Kernel());
  for (const map of pinned.maps) if (map.name === 'by_pid') map.pinning = 1;
  const kernel = new Kernel();
  const first = loadCollection(kernel, pinned, { pinRoot: folder });
  t.same(readdirSync(folder), ['by_pid']);
  first.map('by_pid').update(new Uint8Array(4), new Uint8Array(24).fill(1));
  const second = loadCollection(kernel, pinned, { pinRoot: folder });
  t.equal(second.map('by_pid').info().id, first.map('by_pid').info().id, 'found again by its name');
  const other = openRuntime(new Kernel());
  for (const map of other.maps) {
    if (map.name !== 'by_pid') continue;
    map.pinning = 1;
    map.maxEntries = 65;
  }
  t.throws(() => loadCollection(kernel, other, { pinRoot: folder }), { code: 'E_MAP_MISMATCH', why: /max_entries is 64/ });
  t.throws(() => loadCollection(kernel, pinned, { pinRoot: tmpdir() }), { code: 'E_NOT_BPFFS' });
  first.close();
  second.close();
  rmSync(path.join(folder, 'by_pid'));
  for (const map of pinned.maps) if (map.name === 'by_pid') map.pinning = 1;
  t.throws(() => loadCollection(kernel, pinned, { pinRoot: folder, programs: ['refused'] }), { code: 'E_VERIFIER' });
  t.same(readdirSync(folder), [], 'a load that fails takes its pins back');
});

t.test(
  'a load with a pin, or attaching, that fails at call N leaves no pin and no link, for every N',
  { skip: bpffs === null ? 'no BPF file system can be mounted here' : false, timeout: 110_000 * slowness },
  async (t) => {
    const folder = `${bpffs}/swept`;
    const pinned = { ...spec, maps: spec.maps.map((map) => (map.name === 'by_pid' ? { ...map, pinning: 1 } : map)) };
    const options = { pinRoot: folder, programs: ['on_tracepoint', 'on_raw_tracepoint', 'tail_target'] };
    const before = objectsOfOurs();
    const outcome = { load: 0, attach: 0, none: 0 };
    const run = (injector: FaultInjector): void => {
      const kernel = new Kernel({ sys: new Sys(injector, arch) });
      let stage: keyof typeof outcome = 'load';
      let loaded: ReturnType<typeof loadCollection> | null = null;
      try {
        loaded = loadCollection(kernel, pinned, options);
        t.same(readdirSync(folder), ['by_pid']);
        stage = 'attach';
        const links = loaded.attach();
        stage = 'none';
        if (links.length !== 2) t.fail(`${links.length} links`);
      } catch (error) {
        if (!(error instanceof RawbpfError)) t.fail(String(error));
        if (loaded !== null && loaded.links.length > 0) t.fail(`links stay: ${loaded.links.map(({ target }) => target).join()}`);
        // A load that failed made the folder, and nothing in it.
        if (loaded === null && injector.injected > 0 && pinsIn(folder).length > 0) t.fail(`pins stay: ${pinsIn(folder).join()}`);
      }
      outcome[stage]++;
      loaded?.close();
      kernel.close();
      rmSync(path.join(folder, 'by_pid'), { force: true });
    };
    let total = 0;
    const counting: Fault = { when: () => ++total === 0, errno: 'EIO' };
    run(new FaultInjector(createBackend(), arch, [counting]));
    t.same(outcome, { load: 0, attach: 0, none: 1 });
    const fds = openFds();
    for (let call = 0; call < total; call++) {
      run(new FaultInjector(createBackend(), arch, [{ when: ({ index, name }) => index === call && name !== 'close', errno: 'ENOMEM' }]));
      const left = openFds().filter((fd) => !fds.includes(fd));
      if (left.length > 0) t.fail(`call ${call}: left ${left.join()}`);
    }
    t.ok(outcome.load > 10 && outcome.attach > 2, `${total} calls: ${JSON.stringify(outcome)}`);
    t.same(await nothingStays(before), []);
  },
);

function pinsIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
