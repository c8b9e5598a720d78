// One CPU's value of per-CPU maps: BPF_F_CPU and BPF_F_ALL_CPUS, which came with Linux 7.0; refused clearly before.
import t from 'tap';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { createMap } from '../../../src/bpf/map/create.ts';
import type { BpfMap } from '../../../src/bpf/map/map.ts';
import { createBackend, hostArch } from '../../../src/sys/default-sys.ts';
import { FaultInjector } from '../../../src/sys/fault-injector.ts';
import { versionCode } from '../../../src/sys/kernel-version.ts';
import { Sys } from '../../../src/sys/sys.ts';

const kernel = new Kernel();
const cpus = kernel.possibleCpus.length;
const u32 = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);
const types = ['BPF_MAP_TYPE_PERCPU_ARRAY', 'BPF_MAP_TYPE_PERCPU_HASH', 'BPF_MAP_TYPE_LRU_PERCPU_HASH'] as const;

function withMap(of: Kernel, type: (typeof types)[number], use: (map: BpfMap) => void): void {
  // A full LRU map gives up an element at each update, even the one that is updated, whose other values are then gone.
  const maxEntries = type === 'BPF_MAP_TYPE_LRU_PERCPU_HASH' ? 64 : 2;
  const map = createMap(of, { name: 'cpus', type, keySize: 4, valueSize: 4, maxEntries });
  try {
    use(map);
  } finally {
    map.close();
  }
}

t.test('the kernel has the flags from 7.0 on', async (t) => {
  t.equal(kernel.has('percpu_cpu_flags'), kernel.version >= versionCode(7, 0));
});

for (const type of types) {
  t.test(`${type}: the value of one CPU`, async (t) => {
    withMap(kernel, type, (map) => {
      const values = kernel.possibleCpus.map((_, cpu) => u32(100 + cpu));
      map.updatePerCpu(u32(0), values);
      // Read alone they are what they are read together, on any kernel.
      t.same(
        values.map((_, cpu) => map.lookupCpu(u32(0), cpu)),
        values,
      );
      t.equal(type === 'BPF_MAP_TYPE_PERCPU_ARRAY' ? null : map.lookupCpu(u32(1), 0), null, 'no such key');
      map.updatePerCpu(u32(1), u32(7));
      t.same(map.lookupPerCpu(u32(1)), Array(cpus).fill(u32(7)), 'one value for all');
      t.same(
        [...map.batch.lookup(1, { cpu: cpus - 1 })]
          .flatMap((piece) => piece.values)
          .map(String)
          .toSorted(),
        [String(u32(100 + cpus - 1)), String(u32(7))].toSorted(),
      );
      for (const cpu of [cpus, -1, 0.5]) {
        t.throws(() => map.lookupCpu(u32(0), cpu), { code: 'E_MAP_CPU' });
        t.throws(() => map.updateCpu(u32(0), cpu, u32(1)), { code: 'E_MAP_CPU' });
      }
      t.throws(() => map.updateCpu(u32(0), 0, new Uint8Array(8)), { code: 'E_MAP_VALUE' });
      if (!kernel.has('percpu_cpu_flags')) {
        t.throws(() => map.updateCpu(u32(0), 0, u32(1)), { code: 'E_PERCPU_FLAGS', message: /Linux 7\.0/ });
        t.throws(() => map.batch.update([u32(0)], [u32(1)], { cpu: 0 }), { code: 'E_PERCPU_FLAGS' });
        t.same(map.lookupPerCpu(u32(0)), values, 'nothing was written');
        return;
      }
      map.updateCpu(u32(0), cpus - 1, u32(9));
      t.same(map.lookupPerCpu(u32(0)), [...values.slice(0, -1), u32(9)], 'the others keep theirs');
      t.equal(map.batch.update([u32(0), u32(1)], [u32(20), u32(21)], { cpu: 0 }), 2);
      t.same([map.lookupCpu(u32(0), 0), map.lookupCpu(u32(1), 0)], [u32(20), u32(21)]);
    });
  });
}

t.test('what the kernel is asked', async (t) => {
  const asked: bigint[] = [];
  const backend = new FaultInjector(createBackend(), hostArch(), [
    {
      when: ({ name, args }) => {
        // union bpf_attr: flags of an element stand at 24.
        const attr = args[1];
        if (name === 'bpf' && args[0] === 2 && attr instanceof Uint8Array)
          asked.push(new DataView(attr.buffer, attr.byteOffset).getBigUint64(24, true));
        return false;
      },
      errno: 'EPERM',
    },
  ]);
  withMap(new Kernel({ sys: new Sys(backend, hostArch()), features: { percpu_cpu_flags: true } }), types[1], (map) => {
    const attempt = (use: () => void): void => {
      try {
        use();
      } catch {
        // A kernel before 7.0 says EINVAL.
      }
    };
    attempt(() => map.updateCpu(u32(0), cpus - 1, u32(1), { mode: 'update' }));
    attempt(() => map.updatePerCpu(u32(0), u32(1)));
  });
  // BPF_F_CPU is 8, BPF_F_ALL_CPUS 16, BPF_EXIST 2; the CPU's number is in the upper half.
  t.same(asked, [(BigInt(cpus - 1) << 32n) + 8n + 2n, 16n]);
});

t.test('maps without CPUs', async (t) => {
  const map = createMap(kernel, { name: 'plain', type: 'BPF_MAP_TYPE_HASH', keySize: 4, valueSize: 4, maxEntries: 1 });
  t.teardown(() => map.close());
  t.throws(() => map.lookupCpu(u32(0), 0), { code: 'E_MAP_TYPE' });
  t.throws(() => map.updateCpu(u32(0), 0, u32(0)), { code: 'E_MAP_TYPE' });
});
