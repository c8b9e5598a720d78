import t from 'tap';
import { closeSync, mkdtempSync, openSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { loadCollection } from '../../../src/bpf/collection/load.ts';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { openMapById } from '../../../src/bpf/map/open.ts';
import { check } from '../../../src/sys/errno.ts';
import { bpftool } from '../bpftool.ts';
import { openKinds } from '../kinds.ts';
import { throwsErrno } from '../throws-errno.ts';

const kernel = new Kernel();
const { spec, lacking } = openKinds(kernel);
const collection = loadCollection(kernel, spec);
t.teardown(() => collection.close());

const AF_INET = 2;
const SOCK_STREAM = 1;
const cgroupRoot = ['/sys/fs/cgroup/unified', '/sys/fs/cgroup'].find(
  (folder) => statSync(path.join(folder, 'cgroup.controllers'), { throwIfNoEntry: false }) !== undefined,
);

/** What owns each kind of local storage is named by a descriptor: of a process, a file, a socket, a cgroup. */
const owners: readonly (readonly [map: string, open: () => number])[] = [
  ['of_task', () => check(kernel.sys.call('pidfd_open', process.pid, 0), 'pidfd_open')],
  ['of_socket', () => check(kernel.sys.call('socket', AF_INET, SOCK_STREAM, 0), 'socket')],
  ...(cgroupRoot === undefined ? [] : [['of_cgroup', () => openSync(cgroupRoot, 'r')] as const]),
];

t.test('local storage of a task, a socket and a cgroup', async (t) => {
  t.ok(owners.length >= 2);
  for (const [name, open] of owners) {
    const why = lacking.get(name);
    if (why !== undefined) {
      t.comment(`${name}: ${why}`);
      continue;
    }
    const { typed } = collection.map(name);
    const owner = open();
    try {
      t.equal(typed.get(owner), undefined, name);
      typed.set(owner, { count: 3, balance: -(2n ** 60n) }, { mode: 'create' });
      throwsErrno(t, () => typed.set(owner, { count: 4, balance: 0n }, { mode: 'create' }), 'EEXIST', name);
      t.same(typed.get(owner), { count: 3, balance: -(2n ** 60n) }, name);
      t.equal(typed.delete(owner), true, name);
      t.equal(typed.delete(owner), false, name);
    } finally {
      kernel.sys.call('close', owner);
    }
    throwsErrno(t, () => typed.get(owner), 'EBADF', `${name}: a closed descriptor`);
  }
});

t.test('local storage of an inode, where the kernel has the BPF LSM', { skip: lacking.get('of_inode') ?? false }, async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'rawbpf-inode-'));
  const file = path.join(folder, 'file');
  const fd = openSync(file, 'w');
  const other = openSync(file, 'r');
  const { typed } = collection.map('of_inode');
  try {
    // bpf_inode_storage_update_elem gives EBADF for an inode without the LSM's blob.
    let has = true;
    try {
      typed.set(fd, { count: 1, balance: 2n });
    } catch (error) {
      t.match(error, { errnoName: 'EBADF' });
      has = false;
    }
    t.same(typed.get(other), has ? { count: 1, balance: 2n } : undefined, 'the file’s, whichever descriptor asks');
  } finally {
    closeSync(fd);
    closeSync(other);
    rmSync(folder, { recursive: true });
  }
});

t.test('a map of maps with contents: ids come out, other maps go in', async (t) => {
  const outer = collection.map('by_protocol');
  const [tcp, udp] = [collection.map('tcp'), collection.map('udp')];
  const idOf = (key: number): number | null => {
    const bytes = outer.lookup(new Uint8Array(Uint32Array.of(key).buffer));
    return bytes === null ? null : new DataView(bytes.buffer).getUint32(0, true);
  };
  t.same([1, 2, 3].map(idOf), [tcp.info().id, null, udp.info().id]);
  tcp.typed.set(443, { count: 1, balance: 0n });
  const again = openMapById(kernel, idOf(1) ?? 0);
  t.same([...(again?.typed.entries() ?? [])], [[443, { count: 1, balance: 0n }]], 'types come from the kernel');
  again?.close();
  outer.update(new Uint8Array(Uint32Array.of(2).buffer), new Uint8Array(Uint32Array.of(udp.fd).buffer));
  t.equal(idOf(2), udp.info().id);
  t.equal(outer.delete(new Uint8Array(Uint32Array.of(1).buffer)), true);
  t.equal(idOf(1), null);
});

const prefix = (bits: number, ...address: number[]): object => ({ bits, address });

t.test('an LPM trie with typed keys', async (t) => {
  const { typed } = collection.map('routes');
  typed.set(prefix(8, 10, 0, 0, 0), 8);
  typed.set(prefix(24, 10, 1, 2, 0), 24);
  t.equal(typed.get(prefix(32, 10, 1, 2, 3)), 24);
  t.equal(typed.get(prefix(32, 10, 3, 2, 3)), 8);
  t.equal(typed.get(prefix(32, 11, 1, 2, 3)), undefined);
  const kept = new Set<string>();
  let step = 0;
  for (const [found] of typed) {
    t.notOk(kept.has(JSON.stringify(found)), 'none twice');
    kept.add(JSON.stringify(found));
    typed.delete(found);
    if (step++ < 4) typed.set(prefix(32, 192, 0, 0, step), step);
  }
  t.ok(kept.size >= 2);
});

t.test('a stack of structs, an LRU hash with a value for each CPU', async (t) => {
  const undo = collection.map('undo').typed;
  undo.push({ count: 1, balance: 10n });
  undo.push({ count: 2, balance: -10n });
  t.same(undo.pop(), { count: 2, balance: -10n });
  t.same(undo.pop(), { count: 1, balance: 10n });
  t.equal(undo.pop(), undefined);

  const perCpu = collection.map('per_cpu');
  const values = kernel.possibleCpus.map((cpu) => ({ count: cpu, balance: BigInt(-cpu) }));
  perCpu.typed.set(7, values);
  t.same(perCpu.typed.get(7), values);
  t.equal(perCpu.copiedValueSize, 16 * kernel.possibleCpus.length);
  t.same(
    [...perCpu.batch.lookupAndDelete()].map(({ keys }) => keys.length),
    [1],
  );
  t.equal(perCpu.typed.get(7), undefined);
});

t.test('a bloom filter', { skip: lacking.get('seen') ?? false }, async (t) => {
  const seen = collection.map('seen');
  t.match(bpftool('map', 'show', 'id', String(seen.info().id)), { type: 'bloom_filter' });
  t.equal(seen.info().mapExtra, 3n, 'the number of hash functions');
  seen.push(Uint8Array.of(1, 2, 3, 4));
  t.equal(seen.mayContain(Uint8Array.of(1, 2, 3, 4)), true);
});

t.test('an arena: pages that the process and programs share', { skip: lacking.get('pages') ?? false }, async (t) => {
  const arena = collection.map('pages');
  const memory = arena.mmap();
  t.equal(memory.bytes.length, 4 * kernel.pageSize);
  t.equal(arena.mmap(), memory, 'mapped once: programs hold pointers into it');
  memory.bytes[0] = 1;
  memory.bytes[4 * kernel.pageSize - 1] = 2;
  t.same([memory.bytes[0], memory.bytes.at(-1)], [1, 2]);
});
