import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, statSync, writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { toCString } from '../../src/bytes/text.ts';
import type { FfiBackend } from '../../src/sys/backend.ts';
import { bpf, bpfCall } from '../../src/sys/bpf.ts';
import { clockGettime, clockOffsets } from '../../src/sys/clock.ts';
import { O } from '../../src/sys/constants.ts';
import { onlineCpus, possibleCpuCount } from '../../src/sys/cpus.ts';
import { createBackend, hostArch } from '../../src/sys/default-sys.ts';
import { detachedMount, openFs } from '../../src/sys/detached-mount.ts';
import { Epoll } from '../../src/sys/epoll.ts';
import { dupFd, openFile, readAll } from '../../src/sys/file.ts';
import { Mapping } from '../../src/sys/memory.ts';
import { inNamespace, namespaceInode, openNamespace, unshare } from '../../src/sys/namespaces.ts';
import { pageSize } from '../../src/sys/page-size.ts';
import { perfEventOpen, perfIoctl } from '../../src/sys/perf-event.ts';
import { Recorder } from '../../src/sys/recorder.ts';
import { Replayer } from '../../src/sys/replayer.ts';
import { Sys } from '../../src/sys/sys.ts';

// A loaded machine may take long over all of it.
t.setTimeout(110_000);

const arch = hostArch();
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
const hasNodeFfi = major > 26 || (major === 26 && minor >= 9);

const backends: FfiBackend[] = [createBackend('koffi')];
if (hasNodeFfi) backends.push(createBackend('node'));
else {
  void t.test('node:ffi is not in this Node', async (test) => {
    test.throws(() => createBackend('node'), { code: 'E_FFI_UNAVAILABLE', next: /Node 26\.9/ });
  });
}

function openFds(): string[] {
  return readdirSync('/proc/self/fd').toSorted();
}

function mapped(address: bigint): boolean {
  return readFileSync('/proc/self/maps', 'latin1').includes(`${address.toString(16)}-`);
}

/** A map made, filled and read: the same against a kernel and against a recording. */
function session(through: Sys): unknown[] {
  const map = bpf(through, 'BPF_MAP_CREATE', { map_type: 1, key_size: 4, value_size: 4, max_entries: 8, map_name: 'replayed' });
  const key = Uint8Array.of(9, 0, 0, 0);
  const value = new Uint8Array(4);
  const missing = bpf(through, 'BPF_MAP_LOOKUP_ELEM', { map_fd: map, key, value });
  const update = bpf(through, 'BPF_MAP_UPDATE_ELEM', { map_fd: map, key, value: Uint8Array.of(1, 2, 3, 4) });
  const found = bpf(through, 'BPF_MAP_LOOKUP_ELEM', { map_fd: map, key, value });
  return [map, missing, update, found, [...value], through.call('close', map)];
}

for (const backend of backends) {
  const sys = new Sys(backend, arch);

  void t.test(`${backend.name}: values and errnos`, async (test) => {
    test.equal(sys.call('getpid'), process.pid);
    test.equal(sys.call('close', 1 << 20), -9);
    test.equal(sys.call('openat', -100, toCString('/nonexistent'), 0, 0), -2);
    test.equal(sys.call('lseek', -1, -1n, 0), -9);
    const fd = openSync('/proc/self/exe', 'r');
    test.equal(sys.call('lseek', fd, 3_000_000_000_000, 0), 3_000_000_000_000, 'a result past 2^32');
    closeSync(fd);
    let wrong = 0;
    for (let i = 0; i < 20_000; i++) {
      if (sys.call('close', 1 << 20) !== -9) wrong++;
      if (i % 1000 === 0) Buffer.alloc(1 << 20);
    }
    test.equal(wrong, 0, 'errno is the call’s own');
  });

  void t.test(`${backend.name}: buffers have lasting addresses`, async (test) => {
    const small = Array.from({ length: 200 }, (_, i) => new Uint8Array(8).fill(i));
    const addresses = small.map((bytes) => sys.addressOf(bytes));
    for (let i = 0; i < 50; i++) Buffer.alloc(1 << 20);
    test.same(
      small.map((bytes) => sys.addressOf(bytes)),
      addresses,
    );
    test.equal(new Set(addresses).size, 200);
    const part = new Uint8Array(64).subarray(16);
    test.equal(sys.addressOf(part) - sys.addressOf(new Uint8Array(part.buffer)), 16n, 'of the part, not of the whole');
    const nested = new Uint8Array(8);
    const map = bpf(sys, 'BPF_MAP_CREATE', { map_type: 2, key_size: 4, value_size: 8, max_entries: 2 });
    const key = Uint8Array.of(1, 0, 0, 0);
    test.equal(bpf(sys, 'BPF_MAP_UPDATE_ELEM', { map_fd: map, key, value: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8) }), 0);
    test.equal(bpf(sys, 'BPF_MAP_LOOKUP_ELEM', { map_fd: map, key, value: nested }), 0);
    test.same(nested, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
    const { result, attr } = bpfCall(sys, 'BPF_MAP_GET_NEXT_ID', { start_id: 0 });
    test.equal(result, 0);
    test.ok(new DataView(attr.buffer).getUint32(4, true) > 0);
    sys.call('close', map);
  });

  void t.test(`${backend.name}: mapped memory lives as long as a view of it`, async (test) => {
    const map = bpf(sys, 'BPF_MAP_CREATE', { map_type: 2, key_size: 4, value_size: 8, max_entries: 512, map_flags: 1024 });
    const mapping = Mapping.map(sys, { fd: map, length: pageSize(), writable: true, what: 'a map' });
    const view = new BigUint64Array(mapping.buffer);
    view[3] = 0x1122334455667788n;
    const value = new Uint8Array(8);
    bpf(sys, 'BPF_MAP_LOOKUP_ELEM', { map_fd: map, key: Uint8Array.of(3, 0, 0, 0), value });
    test.equal(new BigUint64Array(value.buffer)[0], 0x1122334455667788n, 'the kernel sees what we write');
    mapping.close();
    mapping.close();
    test.ok(mapping.closed);
    test.throws(() => mapping.buffer);
    test.equal(view[3], 0n, 'anonymous memory is in its place');
    view[3] = 5n;
    bpf(sys, 'BPF_MAP_LOOKUP_ELEM', { map_fd: map, key: Uint8Array.of(3, 0, 0, 0), value });
    test.equal(new BigUint64Array(value.buffer)[0], 0x1122334455667788n, 'and the map is out of reach');
    test.ok(mapped(mapping.address));
    sys.call('close', map);
    test.throws(() => Mapping.map(sys, { fd: -1, length: 4096, writable: false, what: 'nothing' }), {
      code: 'E_SYSCALL',
      errnoName: 'EBADF',
    });
  });

  void t.test(`${backend.name}: epoll`, async (test) => {
    const fd = sys.call('eventfd2', 0, 0o2000000);
    const epoll = new Epoll(sys);
    test.equal(epoll.add(fd, 1), 0);
    test.equal(epoll.add(fd, 1), -17, 'EEXIST');
    test.equal(epoll.wait(0), 0);
    writeSync(fd, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0));
    test.equal(epoll.wait(1000), 1);
    test.equal(epoll.readyFd(0), fd);
    test.equal(epoll.remove(fd), 0);
    test.equal(epoll.wait(0), 0);
    epoll.close();
    epoll.close();
    sys.call('close', fd);
  });

  void t.test(`${backend.name}: clocks`, async (test) => {
    const offsets = clockOffsets(sys);
    const now = clockGettime(sys, 'CLOCK_BOOTTIME') + offsets.boottimeToEpoch;
    const wall = BigInt(Date.now()) * 1_000_000n;
    const apart = now > wall ? now - wall : wall - now;
    test.ok(apart < 20_000_000n, `${apart} ns apart`);
    const uptime = Number(readFileSync('/proc/uptime', 'latin1').split(' ')[0]);
    test.ok(Math.abs(Number(clockGettime(sys, 'CLOCK_BOOTTIME')) / 1e9 - uptime) < 0.5);
    test.ok(offsets.exact);
  });

  void t.test(`${backend.name}: kernel file systems without a mount`, async (test) => {
    for (const [type, entry] of [
      ['tracefs', 'events'],
      ['debugfs', ''],
      ['bpf', ''],
    ] as const) {
      const fd = detachedMount(sys, type);
      test.ok(fd >= 0, `${type}: ${fd}`);
      test.ok(statSync(`/proc/self/fd/${fd}/${entry}`).isDirectory());
      sys.call('close', fd);
    }
    const access = openFs(sys, 'tracefs');
    test.match(readFileSync(`${access.path}/events/sched/sched_process_exec/id`, 'latin1'), /^\d+\n$/);
    access.close();
    test.equal(detachedMount(sys, 'nosuchfs' as 'bpf'), -19, 'ENODEV');
    test.ok(detachedMount(sys, 'cgroup2', { nonsense: '1' }) < 0, 'a bad option');
  });

  void t.test(`${backend.name}: perf events`, async (test) => {
    const fd = perfEventOpen(sys, { attr: { type: 1, config: 1 }, bits: { disabled: 1 }, pid: 0 });
    test.ok(fd >= 0, String(fd));
    test.equal(perfIoctl(sys, fd, 'PERF_EVENT_IOC_ENABLE'), 0);
    for (const end = performance.now() + 5; performance.now() < end;);
    const count = new Uint8Array(8);
    test.equal(sys.call('read', fd, count, 8), 8);
    test.ok((new BigUint64Array(count.buffer)[0] ?? 0n) > 1_000_000n, 'the task clock has run');
    sys.call('close', fd);
    test.equal(perfEventOpen(sys, { attr: { type: 99_999, config: 1 }, pid: 0 }), -2, 'ENOENT');
  });

  void t.test(`${backend.name}: files and namespaces`, async (test) => {
    const before = openFds();
    const fd = openFile(sys, '/proc/version', O.O_RDONLY);
    const copy = dupFd(sys, fd, 50);
    test.ok(copy >= 50);
    test.equal(new TextDecoder().decode(readAll(sys, copy, 7)), readFileSync('/proc/version', 'utf8'));
    sys.call('close', fd);
    sys.call('close', copy);
    test.throws(() => openFile(sys, '/nonexistent'), { code: 'E_SYSCALL', errnoName: 'ENOENT', where: { path: '/nonexistent' } });
    const home = openNamespace(sys, 'self', 'net');
    test.equal(namespaceInode('self', 'net'), statSync('/proc/self/ns/net').ino);
    const inside = inNamespace(sys, home, 'net', () => namespaceInode('self', 'net'));
    test.equal(inside, namespaceInode('self', 'net'));
    test.equal(namespaceInode(999_999_999, 'net'), null);
    unshare(sys, 'uts');
    test.not(namespaceInode('self', 'uts'), namespaceInode(1, 'uts'));
    sys.call('close', home);
    test.same(openFds().length, before.length, 'nothing is left open');
  });

  void t.test(`${backend.name}: a real recording replays without a kernel`, async (test) => {
    const recorder = new Recorder(backend, arch);
    const answers = session(new Sys(recorder, arch));
    test.same(answers.slice(1), [-2, 0, 0, [1, 2, 3, 4], 0]);
    test.same(session(new Sys(new Replayer(recorder.calls, arch), arch)), answers);
  });
}

void t.test('CPUs', async (test) => {
  test.ok(possibleCpuCount() >= onlineCpus().length);
  test.equal(onlineCpus().length, Number(spawnSync('nproc', ['--all'], { encoding: 'utf8' }).stdout), 'nproc');
  test.equal(pageSize(), Number(spawnSync('getconf', ['PAGESIZE'], { encoding: 'utf8' }).stdout), 'getconf');
});

void t.test('without koffi the error says what to do', async (test) => {
  const code = `
    const Module = require('node:module');
    const resolve = Module._resolveFilename;
    process.dlopen = () => { throw new Error('no such addon'); };
    Module._resolveFilename = function (request, ...rest) {
      if (request === 'koffi') throw new Error('Cannot find the native Koffi module');
      return resolve.call(this, request, ...rest);
    };
    import(${JSON.stringify(fileURLToPath(new URL('../../src/sys/default-sys.js', import.meta.url)))}).then(({ createBackend }) => {
      try { createBackend('koffi'); } catch (error) { console.log(error.code, error.message); }
      console.log(createBackend.name);
    });`;
  const run = spawnSync(process.execPath, ['-e', code], { encoding: 'utf8' });
  test.match(
    run.stdout,
    /^E_FFI_UNAVAILABLE the foreign function interface koffi cannot be loaded.*Cannot find the native Koffi module.*--include=optional/,
  );
});
