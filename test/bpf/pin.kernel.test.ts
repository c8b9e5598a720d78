// Pins of maps, programs and links, and finding them again; what the kernel lists, by id.
import { mkdtempSync, readdirSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import {
  createMap,
  Kernel,
  listLinks,
  listMaps,
  listPrograms,
  loadCollection,
  openLinkById,
  openMapById,
  openPinnedLink,
  openPinnedMap,
  openPinnedProgram,
  openProgramById,
} from '../../src/bpf/index.ts';
import { openObject } from '../../src/bpf/object/index.ts';
import { unpin } from '../../src/bpf/pin.ts';
import { fixture } from '../fixture.ts';
import { bpftool } from './bpftool.ts';
import { openRuntime } from './runtime.ts';

const kernel = new Kernel();
t.teardown(() => {
  if (bpffs !== null && kernel.sys.call('umount2', Buffer.from(`${bpffs}\0`), 0) >= 0) rmdirSync(bpffs);
  kernel.close();
});
const bpffs = mountBpffs();
const skip = bpffs === null ? 'no BPF file system can be mounted here' : false;

/** A BPF file system in a mount namespace of our own, so that nothing stays mounted; null where that is impossible. */
function mountBpffs(): string | null {
  const folder = mkdtempSync(path.join(tmpdir(), 'rawbpf-bpffs-'));
  const type = Buffer.from('bpf\0');
  const { sys } = kernel;
  if (sys.call('unshare', 0x20000) < 0) return null;
  if (sys.call('mount', Buffer.from('none\0'), Buffer.from('/\0'), null, 0x44000, null) < 0) return null;
  return sys.call('mount', type, Buffer.from(`${folder}\0`), type, 0, null) < 0 ? null : folder;
}

t.test('a map outlives its process by a pin', { skip }, async (t) => {
  const at = `${bpffs}/own/counts`;
  const map = createMap(kernel, { name: 'counts', type: 'BPF_MAP_TYPE_HASH', keySize: 4, valueSize: 8, maxEntries: 4 });
  map.update(new Uint8Array(4), new Uint8Array(8).fill(7));
  map.pin(at);
  t.throws(() => map.pin(at), { code: 'E_SYSCALL', message: /EEXIST/ });
  const { id } = map.info();
  map.close();
  const again = openPinnedMap(kernel, at);
  t.equal(again.info().id, id);
  t.same(again.lookup(new Uint8Array(4)), new Uint8Array(8).fill(7));
  t.match(bpftool('map', 'show', 'pinned', at), { id, type: 'hash', max_entries: 4 });
  again.close();
  t.equal(unpin(at), true);
  t.equal(unpin(at), false);
  t.throws(() => openPinnedMap(kernel, at), { code: 'E_NOT_PINNED' });
});

t.test('a program and what it is attached to outlive their collection by pins', { skip }, async (t) => {
  const collection = loadCollection(kernel, openRuntime(kernel), { programs: ['on_raw_tracepoint', 'tail_target'] });
  const program = collection.program('on_raw_tracepoint');
  const [link] = collection.attach();
  const { id, tag } = program.info();
  const linkId = link?.info()?.id ?? 0;
  program.pin(`${bpffs}/two/program`);
  link?.pin(`${bpffs}/two/link`);
  collection.close();

  const sameProgram = openPinnedProgram(kernel, `${bpffs}/two/program`);
  t.match(sameProgram.info(), { id, tag });
  t.match(bpftool('prog', 'show', 'pinned', `${bpffs}/two/program`), { id, tag });
  sameProgram.close();
  const sameLink = openPinnedLink(kernel, `${bpffs}/two/link`);
  t.match(sameLink.info(), { id: linkId, programId: id });
  const third = openLinkById(kernel, linkId);
  t.equal(third?.info()?.id, linkId);
  third?.close();
  unpin(`${bpffs}/two/program`);
  unpin(`${bpffs}/two/link`);
  t.same(readdirSync(`${bpffs}/two`), [], 'and nothing else was pinned');
  // The last that holds it: with it the link goes.
  sameLink.close();
});

t.test('a map of devices is found again, though the kernel made it read-only for programs', { skip }, async (t) => {
  const file = openObject(fixture('object/maps.bpf.o'), { name: 'maps' });
  const [sample] = file.maps.filter(({ origin }) => origin === 'btf');
  if (sample === undefined) throw new Error('the fixture has a map');
  const BPF_MAP_TYPE_DEVMAP = 14;
  const shape = { type: BPF_MAP_TYPE_DEVMAP, keySize: 4, valueSize: 4, maxEntries: 2, flags: 0, numaNode: 0, mapExtra: 0n, pinning: 1 };
  const devices = { ...sample, ...shape, name: 'devices', libbpfName: 'devices', keyTypeId: 0, valueTypeId: 0, inner: null, slots: [] };
  const spec = { ...file, maps: [devices], programs: [], externs: [] };
  const options = { pinRoot: `${bpffs}/own` };
  const first = loadCollection(kernel, spec, options);
  const BPF_F_RDONLY_PROG = 0x80;
  t.equal(first.map('devices').info().flags & BPF_F_RDONLY_PROG, BPF_F_RDONLY_PROG);
  const second = loadCollection(kernel, spec, options);
  t.equal(second.map('devices').info().id, first.map('devices').info().id);
  first.close();
  second.close();
  unpin(`${bpffs}/own/devices`);
});

t.test('everything the kernel has, by id', async (t) => {
  const collection = loadCollection(kernel, openRuntime(kernel), { programs: ['on_raw_tracepoint', 'tail_target'] });
  const [link] = collection.attach();
  const program = collection.program('on_raw_tracepoint').info();
  const map = collection.map('by_pid').info();
  t.match(
    [...listPrograms(kernel)].find(({ id }) => id === program.id),
    { name: 'on_raw_tracepoi', tag: program.tag, btfId: program.btfId },
  );
  t.match(
    [...listMaps(kernel)].find(({ id }) => id === map.id),
    { name: 'by_pid', type: 1, keySize: 4, valueSize: 24, maxEntries: 64 },
  );
  t.match(
    [...listLinks(kernel)].find(({ id }) => id === link?.info()?.id),
    { programId: program.id, details: { tp_name: 'sys_enter' } },
  );
  const opened = openProgramById(kernel, program.id);
  // What the kernel made of its instructions is what bpftool prints of them.
  const dumped = bpftool('prog', 'dump', 'xlated', 'id', String(program.id)) as readonly unknown[];
  t.ok(dumped.length > 0 && (opened?.translatedInsns().length ?? 0) / 8 >= dumped.length);
  opened?.close();
  // The types of a map opened by its id come from the kernel.
  const byId = openMapById(kernel, map.id);
  t.equal(byId?.types?.btf.nameOf(map.valueTypeId), collection.map('by_pid').types?.btf.nameOf(map.valueTypeId));
  t.match(byId?.types?.btf.type(map.valueTypeId), { kind: 'STRUCT', size: 24 });
  byId?.close();
  collection.close();
  const none = 0x7fffffff;
  t.same([openProgramById(kernel, none), openMapById(kernel, none), openLinkById(kernel, none)], [null, null, null]);
});
