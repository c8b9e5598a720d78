// What a kernel lacks that the objects of fallbacks.kernel.test.ts do not show: each kind of BTF alone, records of maps, the place of
// the kernel's own BTF, the flags that the kernel adds to device maps.
import { spawnSync } from 'node:child_process';
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { loadCollection } from '../../../src/bpf/collection/load.ts';
import type { KernelFeature } from '../../../src/bpf/kernel/features.ts';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { encodeProbeBtf, probeBtfs } from '../../../src/bpf/kernel/probe-btf.ts';
import { vmlinuxBtfPaths } from '../../../src/bpf/kernel/vmlinux-btf.ts';
import { mapInfo } from '../../../src/bpf/map/info.ts';
import { createMap } from '../../../src/bpf/map/create.ts';
import { openObject } from '../../../src/bpf/object/open.ts';
import { loadBtf } from '../../../src/bpf/program/btf.ts';
import { Btf } from '../../../src/btf/btf.ts';
import type { BtfType } from '../../../src/btf/types.ts';
import { createBackend, hostArch } from '../../../src/sys/default-sys.ts';
import { FaultInjector, type FaultCall } from '../../../src/sys/fault-injector.ts';
import { detachedMount } from '../../../src/sys/detached-mount.ts';
import { Sys } from '../../../src/sys/sys.ts';
import { fixture } from '../../fixture.ts';

function* typesOf(btf: Btf): Generator<BtfType> {
  for (let id = 1; id < btf.typeCount; id++) yield btf.type(id);
}

const kind =
  (name: BtfType['kind']) =>
  (bytes: Uint8Array): boolean =>
    [...typesOf(Btf.parse(bytes))].some((type) => type.kind === name);

interface Kind {
  readonly name: string;
  readonly feature: KernelFeature;
  readonly bytes: Uint8Array;
  /** Whether BTF has what the kernel does not know. */
  readonly has: (bytes: Uint8Array) => boolean;
}

const tour = openObject(fixture('tour.bpf.o'), { name: 'tour' }).btf?.bytes ?? new Uint8Array(0);
const kinds: readonly Kind[] = [
  {
    name: 'BTF_GLOBAL_FUNC',
    feature: 'btf_func_global',
    bytes: tour,
    has: (bytes) => [...typesOf(Btf.parse(bytes))].some((type) => type.kind === 'FUNC' && type.linkage === 1),
  },
  { name: 'BTF_FLOAT', feature: 'btf_float', bytes: tour, has: kind('FLOAT') },
  { name: 'BTF_DECL_TAG', feature: 'btf_decl_tag', bytes: tour, has: kind('DECL_TAG') },
  { name: 'BTF_TYPE_TAG', feature: 'btf_type_tag', bytes: tour, has: kind('TYPE_TAG') },
  { name: 'BTF_ENUM64', feature: 'btf_enum64', bytes: tour, has: kind('ENUM64') },
  {
    name: 'BTF_QMARK_DATASEC',
    feature: 'btf_qmark_datasec',
    bytes: encodeProbeBtf(probeBtfs.qmarkDatasec),
    has: (bytes) => [...typesOf(Btf.parse(bytes))].some((type) => type.kind === 'DATASEC' && type.name.startsWith('?')),
  },
  {
    name: 'BTF_LAYOUT',
    feature: 'btf_layout',
    bytes: encodeProbeBtf(probeBtfs.layout),
    // struct btf_header: hdr_len is 24 without the layout section.
    has: (bytes) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(4, true) > 24,
  },
];

for (const { name, feature, bytes, has } of kinds) {
  t.test(`${name}: the kernel is given another form`, async (t) => {
    t.equal(has(bytes), true);
    const refused = (call: FaultCall): boolean => {
      const given = call.command === 'BPF_BTF_LOAD' ? call.buffer('btf') : null;
      return given !== null && has(given);
    };
    const injector = new FaultInjector(createBackend(), hostArch(), [{ when: refused, errno: 'EINVAL' }]);
    const asked: string[] = [];
    const kernel = new Kernel({
      sys: new Sys(injector, hostArch()),
      trace: (event) => void (event.step === 'probe' && asked.push(event.feature)),
    });
    for (let i = 0; i < 2; i++) {
      const loaded = loadBtf(kernel, Btf.parse(bytes), 'object');
      t.ok(loaded, 'it is taken all the same');
      loaded?.close();
    }
    t.ok(injector.injected > 0, `refused ${injector.injected} times`);
    t.equal(asked.filter((one) => one === feature).length, 1, 'asked once');
    t.equal(kernel.has(feature), false);
    kernel.close();
  });
}

t.test('what a map is, of a kernel that tells it in fdinfo only (before 4.13)', async (t) => {
  const real = new Kernel();
  const faults = [{ when: ({ command }: FaultCall) => command === 'BPF_OBJ_GET_INFO_BY_FD', errno: 'EINVAL' as const }];
  const old = new Sys(new FaultInjector(createBackend(), hostArch(), faults), hostArch());
  const map = createMap(real, { name: 'told', type: 'BPF_MAP_TYPE_HASH', keySize: 12, valueSize: 24, maxEntries: 100, flags: 1 });
  // fdinfo has neither a name nor BTF.
  const { type, keySize, valueSize, maxEntries, flags, mapExtra } = mapInfo(real.sys, map.fd);
  t.match(mapInfo(old, map.fd), { type, keySize, valueSize, maxEntries, flags, mapExtra, name: '' });
  t.same([keySize, valueSize, maxEntries, flags], [12, 24, 100, 1]);
  map.close();
  real.close();
});

t.test('a pinned device map is taken again, to which the kernel has added a flag', async (t) => {
  const kernel = new Kernel();
  const mount = detachedMount(kernel.sys, 'bpf');
  const pinRoot = `/proc/self/fd/${mount}`;
  const spec = openObject(fixture('attach/net.bpf.o'), { name: 'net' });
  const maps = spec.maps.filter(({ name }) => name === 'devices').map((map) => ({ ...map, pinning: 1 }));
  const pinned = { ...spec, maps, programs: [] };
  const first = loadCollection(kernel, pinned, { pinRoot });
  t.ok((first.map('devices').info().flags & 0x80) !== 0, 'BPF_F_RDONLY_PROG');
  const second = loadCollection(kernel, pinned, { pinRoot });
  t.equal(second.map('devices').info().id, first.map('devices').info().id);
  second.close();
  first.close();
  kernel.sys.call('close', mount);
  kernel.close();
});

t.test('where the kernel’s BTF is looked for', async (t) => {
  const kernel = new Kernel();
  const btf = kernel.vmlinuxBtf();
  const release = os.release();
  // The order of btf__load_vmlinux_btf() of libbpf 1.8.
  t.same(vmlinuxBtfPaths('R'), [
    '/sys/kernel/btf/vmlinux',
    '/boot/vmlinux-R',
    '/lib/modules/R/vmlinux-R',
    '/lib/modules/R/build/vmlinux',
    '/usr/lib/modules/R/kernel/vmlinux',
    '/usr/lib/debug/boot/vmlinux-R',
    '/usr/lib/debug/boot/vmlinux-R.debug',
    '/usr/lib/debug/lib/modules/R/vmlinux',
  ]);
  const child = fileURLToPath(new URL('./vmlinux-child.js', import.meta.url));
  // In a mount namespace of its own, without the file in sysfs.
  const found = (boot: string): unknown => {
    const script = [
      'set -e',
      'mkdir -p /boot',
      'mount -t tmpfs none /mnt',
      'cp /sys/kernel/btf/vmlinux /mnt/vmlinux',
      'mount -t tmpfs none /sys/kernel/btf',
      'mount -t tmpfs none /boot',
      boot,
      'exec "$0" "$1"',
    ].join('\n');
    const { stdout, stderr } = spawnSync('unshare', ['-m', 'sh', '-c', script, process.execPath, child], { encoding: 'utf8' });
    t.equal(stderr.replaceAll(/^Warning: .*\n/gm, ''), '');
    return JSON.parse(stdout);
  };
  t.same(found(':'), { types: null, notices: [] });
  t.same(found(`echo broken >/boot/vmlinux-${release}`), { types: null, notices: ['N_VMLINUX_BTF'] });
  t.same(found(`cp /mnt/vmlinux /boot/vmlinux-${release}`), { types: btf?.typeCount ?? null, notices: [] });
  kernel.close();
});
