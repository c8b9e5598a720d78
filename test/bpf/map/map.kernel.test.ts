import t from 'tap';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { createMap, type MapOptions } from '../../../src/bpf/map/create.ts';
import type { BpfMap } from '../../../src/bpf/map/map.ts';
import { mapInfo } from '../../../src/bpf/map/info.ts';
import { openMapById } from '../../../src/bpf/map/open.ts';
import { Btf } from '../../../src/btf/btf.ts';
import { BtfBuilder } from '../../../src/btf/builder.ts';
import { FaultInjector, failNamed } from '../../../src/sys/fault-injector.ts';
import { createBackend, hostArch } from '../../../src/sys/default-sys.ts';
import { versionCode } from '../../../src/sys/kernel-version.ts';
import { Sys } from '../../../src/sys/sys.ts';
import { bpftool, bytesOf } from '../bpftool.ts';
import { throwsErrno } from '../throws-errno.ts';

const kernel = new Kernel();
const u32 = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);
const u64 = (value: bigint): Uint8Array => new Uint8Array(BigUint64Array.of(value).buffer);

function withMap(options: MapOptions, use: (map: BpfMap) => void): void {
  const map = createMap(kernel, options);
  try {
    use(map);
  } finally {
    map.close();
  }
}

function dump(map: BpfMap): { key: string[]; value?: string[]; values?: { cpu: number; value: string[] }[] }[] {
  return bpftool('map', 'dump', 'id', String(map.info().id)) as ReturnType<typeof dump>;
}

/** Hash types since Linux 5.14. */
const takes = kernel.version >= versionCode(5, 14);

t.test('hash: update modes, look-up, delete; bpftool sees the same', async (t) => {
  withMap({ name: 'a-b c', type: 'BPF_MAP_TYPE_HASH', keySize: 4, valueSize: 8, maxEntries: 3 }, (map) => {
    t.equal(map.lookup(u32(1)), null);
    throwsErrno(t, () => map.update(u32(1), u64(1n), { mode: 'update' }), 'ENOENT');
    map.update(u32(1), u64(10n), { mode: 'create' });
    throwsErrno(t, () => map.update(u32(1), u64(11n), { mode: 'create' }), 'EEXIST');
    map.update(u32(1), u64(12n), { mode: 'update' });
    map.update(u32(2), u64(20n));
    map.update(u32(3), u64(30n));
    throwsErrno(t, () => map.update(u32(4), u64(40n)), 'E2BIG');
    t.same(map.lookup(u32(1)), u64(12n));
    t.ok(map.has(u32(3)));
    const seen = dump(map).map(({ key, value }) => [bytesOf(key), bytesOf(value ?? [])]);
    t.same([...map.entries()], seen, 'the same entries in the same order as bpftool map dump');
    t.same((bpftool('map', 'show', 'id', String(map.info().id)) as { name: string }).name, 'a_b_c');
    t.equal(map.delete(u32(1)), true);
    t.equal(map.delete(u32(1)), false);
    if (takes) {
      t.same(map.lookupAndDelete(u32(2)), u64(20n));
      t.equal(map.lookupAndDelete(u32(2)), null);
    } else t.throws(() => map.lookupAndDelete(u32(2)), { code: 'E_MAP_TAKE', message: /5\.14.*look it up and delete it/ });
    map.clear();
    t.same([...map.keys()], []);
    t.throws(() => map.lookup(u64(1n)), { code: 'E_MAP_KEY' });
    t.throws(() => map.update(u32(1), u32(1)), { code: 'E_MAP_VALUE' });
    t.throws(() => map.pop(), { code: 'E_MAP_TYPE' });
    t.throws(() => map.typed, { code: 'E_MAP_UNTYPED' });
    t.throws(() => map.mmap(), { code: 'E_MAP_MMAP' });
  });
});

t.test('info agrees with bpftool map show', async (t) => {
  withMap({ name: 'shape', type: 'BPF_MAP_TYPE_LRU_HASH', keySize: 6, valueSize: 20, maxEntries: 100, flags: 0 }, (map) => {
    const info = map.info();
    const shown = bpftool('map', 'show', 'id', String(info.id)) as Record<string, unknown>;
    t.match(shown, { id: info.id, type: 'lru_hash', name: 'shape', flags: 0, bytes_key: 6, bytes_value: 20, max_entries: 100 });
    t.same([info.type, info.keySize, info.valueSize, info.maxEntries, info.flags], [9, 6, 20, 100, 0]);
  });
});

t.test('a kernel that does not tell of maps (before 4.13) is asked through fdinfo', async (t) => {
  const faults = new FaultInjector(createBackend(), hostArch(), [failNamed('BPF_OBJ_GET_INFO_BY_FD', 'EINVAL')]);
  const old = new Sys(faults, hostArch());
  withMap({ name: 'shape', type: 'BPF_MAP_TYPE_HASH', keySize: 6, valueSize: 20, maxEntries: 100, flags: 1 }, (map) => {
    const { type, keySize, valueSize, maxEntries, flags, mapExtra, id } = map.info();
    t.match(mapInfo(old, map.fd), { type, keySize, valueSize, maxEntries, flags, mapExtra, id });
    t.ok(faults.injected > 0);
  });
});

t.test('per-CPU values: one for each possible CPU, each rounded up to 8 bytes', async (t) => {
  withMap({ type: 'BPF_MAP_TYPE_PERCPU_ARRAY', keySize: 4, valueSize: 5, maxEntries: 2 }, (map) => {
    const cpus = kernel.possibleCpus.length;
    t.equal(map.copiedValueSize, 8 * cpus);
    const values = Array.from({ length: cpus }, (_, cpu) => Uint8Array.of(1, 2, 3, 4, cpu));
    map.updatePerCpu(u32(1), values);
    t.same(map.lookupPerCpu(u32(1)), values);
    const dumped = dump(map).find(({ key }) => bytesOf(key)[0] === 1);
    t.same(
      dumped?.values?.map(({ value }) => bytesOf(value)),
      values,
      'as bpftool map dump shows them',
    );
    map.updatePerCpu(u32(0), Uint8Array.of(9, 9, 9, 9, 9));
    t.same(map.lookupPerCpu(u32(0))?.length, cpus);
    t.throws(() => map.updatePerCpu(u32(0), values.slice(1)), { code: 'E_MAP_VALUE' });
  });
});

t.test('queue, stack and bloom filter', async (t) => {
  for (const [type, order] of [
    ['BPF_MAP_TYPE_QUEUE', [1, 2]],
    ['BPF_MAP_TYPE_STACK', [2, 1]],
  ] as const) {
    withMap({ type, keySize: 0, valueSize: 4, maxEntries: 2 }, (map) => {
      map.push(u32(1));
      map.push(u32(2));
      throwsErrno(t, () => map.push(u32(3)), 'E2BIG', type);
      t.same(map.peek(), u32(order[0]), type);
      t.same(map.pop(), u32(order[0]), type);
      t.same(map.pop(), u32(order[1]), type);
      t.equal(map.pop(), null, type);
      map.push(u32(1));
      map.push(u32(2));
      map.push(u32(3), true);
      map.clear();
      t.equal(map.peek(), null, type);
    });
  }
  if (kernel.version < versionCode(5, 16)) {
    t.throws(() => withMap({ type: 'BPF_MAP_TYPE_BLOOM_FILTER', keySize: 0, valueSize: 4, maxEntries: 1000 }, () => {}), {
      message: /this kernel has no maps of this type/,
    });
    return;
  }
  withMap({ type: 'BPF_MAP_TYPE_BLOOM_FILTER', keySize: 0, valueSize: 4, maxEntries: 1000 }, (map) => {
    map.push(u32(7));
    t.equal(map.mayContain(u32(7)), true);
    t.equal(Array.from({ length: 50 }, (_, i) => map.mayContain(u32(1000 + i))).filter(Boolean).length < 5, true);
  });
});

t.test('LPM trie finds the longest prefix and walks its keys', async (t) => {
  withMap({ type: 'BPF_MAP_TYPE_LPM_TRIE', keySize: 8, valueSize: 4, maxEntries: 8, flags: 1 }, (map) => {
    const key = (bits: number, ...address: number[]): Uint8Array => Uint8Array.of(bits, 0, 0, 0, ...address);
    map.update(key(8, 10, 0, 0, 0), u32(8));
    map.update(key(16, 10, 1, 0, 0), u32(16));
    t.same(map.lookup(key(32, 10, 1, 2, 3)), u32(16));
    t.same(map.lookup(key(32, 10, 9, 2, 3)), u32(8));
    t.equal(map.lookup(key(32, 11, 0, 0, 0)), null);
    t.equal([...map.keys()].length, 2);
  });
});

t.test('batches', async (t) => {
  withMap({ type: 'BPF_MAP_TYPE_HASH', keySize: 4, valueSize: 8, maxEntries: 1000 }, (map) => {
    const keys = Array.from({ length: 600 }, (_, i) => u32(i));
    t.equal(
      map.batch.update(
        keys,
        keys.map((_, i) => u64(BigInt(i))),
      ),
      600,
    );
    const found = new Map<number, bigint>();
    for (const piece of map.batch.lookup(50)) {
      piece.keys.forEach((key, i) => {
        const value = piece.values[i] as Uint8Array;
        found.set(
          new DataView(key.buffer, key.byteOffset).getUint32(0, true),
          new DataView(value.buffer, value.byteOffset).getBigUint64(0, true),
        );
      });
    }
    t.equal(found.size, 600);
    t.ok([...found].every(([key, value]) => BigInt(key) === value));
    t.equal(map.batch.delete([u32(0), u32(5000), u32(1), u32(5001)]), 2, 'missing keys are passed over');
    t.equal(
      [...map.batch.lookupAndDelete()].reduce((sum, { keys: part }) => sum + part.length, 0),
      598,
    );
    t.same([...map.keys()], []);
    t.throws(() => map.batch.update([u32(1)], [u32(1)]), { code: 'E_MAP_VALUE' });
  });
});

function takesInOneStep(map: BpfMap): boolean {
  try {
    return map.lookupAndDelete(u32(99)) === null;
  } catch {
    return false;
  }
}

t.test('batches on a kernel without them', async (t) => {
  const inner = createBackend();
  const faults = new FaultInjector(inner, hostArch(), [{ when: ({ command }) => command?.endsWith('_BATCH') === true, errno: 'EINVAL' }]);
  const old = new Kernel({ sys: new Sys(faults, hostArch()) });
  const map = createMap(old, { type: 'BPF_MAP_TYPE_HASH', keySize: 4, valueSize: 4, maxEntries: 10 });
  const keys = [1, 2, 3].map(u32);
  t.equal(map.batch.update(keys, keys), 3);
  t.equal([...map.batch.lookup(2)].flatMap((piece) => piece.keys).length, 3);
  t.equal(map.batch.delete([u32(1), u32(9)]), 1);
  if (takesInOneStep(map)) {
    t.equal([...map.batch.lookupAndDelete(1)].length, 2);
    t.same([...map.keys()], []);
  } else {
    // Before Linux 5.14 hashes give up an entry in one step by batches alone.
    t.throws(() => [...map.batch.lookupAndDelete(1)], { code: 'E_MAP_TAKE' });
    t.equal([...map.keys()].length, 2, 'nothing is lost');
  }
  t.ok(faults.injected >= 4, 'each was tried');
  map.close();
});

t.test('walking a hash while its keys are deleted and others come', async (t) => {
  withMap({ type: 'BPF_MAP_TYPE_HASH', keySize: 4, valueSize: 4, maxEntries: 4096 }, (map) => {
    for (let i = 0; i < 1000; i++) map.update(u32(i), u32(i));
    const seen = new Map<number, number>();
    let step = 0;
    for (const key of map.keys()) {
      const id = new DataView(key.buffer).getUint32(0, true);
      seen.set(id, (seen.get(id) ?? 0) + 1);
      // The key we stand on goes, odd ones only: the even ones stay throughout.
      if (id % 2 === 1) map.delete(key);
      map.update(u32(10_000 + step), u32(0));
      if (step++ % 3 === 0) map.delete(u32(10_000 + step - 3));
    }
    t.ok(
      [...seen.values()].every((count) => count === 1),
      'none twice',
    );
    t.equal(Array.from({ length: 500 }, (_, i) => seen.has(i * 2)).filter(Boolean).length, 500, 'all that stayed were given');
  });
});

t.test('mmap shares memory with the kernel and is harmless after close', async (t) => {
  withMap({ type: 'BPF_MAP_TYPE_ARRAY', keySize: 4, valueSize: 12, maxEntries: 3, flags: 1024 }, (map) => {
    const memory = map.mmap();
    t.equal(memory.bytes.length, 48);
    memory.bytes[16] = 42;
    t.equal(map.lookup(u32(1))?.[0], 42);
    map.update(
      u32(2),
      Uint8Array.from({ length: 12 }, (_, i) => i),
    );
    t.same(
      memory.bytes.slice(32, 44),
      Uint8Array.from({ length: 12 }, (_, i) => i),
    );
    const { bytes } = memory;
    memory.close();
    memory.close();
    t.equal(bytes[16], 0, 'zero after close, no signal');
    bytes[16] = 1;
    t.equal(map.lookup(u32(1))?.[0], 42, 'and the map is not touched');
  });
});

t.test('freeze', async (t) => {
  withMap({ type: 'BPF_MAP_TYPE_ARRAY', keySize: 4, valueSize: 4, maxEntries: 1 }, (map) => {
    map.freeze();
    throwsErrno(t, () => map.update(u32(0), u32(1)), 'EPERM');
    t.same(map.lookup(u32(0)), u32(0));
  });
});

t.test('map in map: descriptors in, ids out', async (t) => {
  withMap({ type: 'BPF_MAP_TYPE_ARRAY', keySize: 4, valueSize: 8, maxEntries: 1 }, (inner) => {
    withMap({ type: 'BPF_MAP_TYPE_HASH_OF_MAPS', keySize: 4, valueSize: 4, maxEntries: 2, inner }, (outer) => {
      outer.update(u32(5), u32(inner.fd));
      const id = new DataView((outer.lookup(u32(5)) as Uint8Array).buffer).getUint32(0, true);
      t.equal(id, inner.info().id);
      const again = openMapById(kernel, id);
      t.equal(again?.info().id, id);
      again?.close();
    });
  });
});

t.test('sizes as the kernel wants them', async (t) => {
  withMap({ type: 'BPF_MAP_TYPE_RINGBUF', keySize: 0, valueSize: 0, maxEntries: 5000 }, (map) => {
    t.equal(map.info().maxEntries, 2 * kernel.pageSize);
  });
  withMap({ type: 'BPF_MAP_TYPE_PERF_EVENT_ARRAY', keySize: 4, valueSize: 4, maxEntries: 0 }, (map) => {
    t.equal(map.info().maxEntries, kernel.possibleCpus.length);
  });
  t.throws(() => createMap(kernel, { type: 'BPF_MAP_TYPE_HASH', keySize: 4, valueSize: 4, maxEntries: 0 }), /EINVAL: max_entries is 0/);
});

t.test('typed keys and values', async (t) => {
  const builder = new BtfBuilder();
  const int = builder.add({ kind: 'INT', name: 'unsigned int', size: 4, encoding: 0, bitOffset: 0, bits: 32 });
  const long = builder.add({ kind: 'INT', name: 'unsigned long', size: 8, encoding: 0, bitOffset: 0, bits: 64 });
  const pair = builder.add({
    kind: 'STRUCT',
    name: 'pair',
    size: 16,
    members: [
      { name: 'count', typeId: long, bitOffset: 0, bitSize: 0 },
      { name: 'last', typeId: int, bitOffset: 64, bitSize: 0 },
    ],
  });
  const btf = { btf: Btf.parse(builder.encode()), fd: -1, keyTypeId: int, valueTypeId: pair };
  withMap({ type: 'BPF_MAP_TYPE_HASH', keySize: 4, valueSize: 16, maxEntries: 4, btf }, (map) => {
    map.typed.set(7, { count: 2n ** 60n, last: 5 });
    t.same(map.typed.get(7), { count: 2n ** 60n, last: 5 });
    t.equal(map.typed.get(8), undefined);
    t.same([...map.typed], [[7, { count: 2n ** 60n, last: 5 }]]);
    if (takes) t.same(map.typed.take(7), { count: 2n ** 60n, last: 5 });
    else t.throws(() => map.typed.take(7), { code: 'E_MAP_TAKE' });
    t.equal(map.typed.delete(7), !takes);
  });
  withMap({ type: 'BPF_MAP_TYPE_PERCPU_HASH', keySize: 4, valueSize: 16, maxEntries: 4, btf }, (map) => {
    map.typed.set(1, { count: 1n, last: 2 });
    t.same(
      map.typed.get(1),
      kernel.possibleCpus.map(() => ({ count: 1n, last: 2 })),
    );
  });
});

t.test('a closed map', async (t) => {
  const map = createMap(kernel, { type: 'BPF_MAP_TYPE_ARRAY', keySize: 4, valueSize: 4, maxEntries: 1 });
  map.close();
  map.close();
  t.throws(() => map.lookup(u32(0)), { code: 'E_CLOSED' });
});
