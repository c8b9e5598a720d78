import { mkdirSync, rmSync } from 'node:fs';
import t from 'tap';
import { tryPrograms } from '../../../src/bpf/collection/check.ts';
import type { Collection } from '../../../src/bpf/collection/collection.ts';
import { loadCollection } from '../../../src/bpf/collection/load.ts';
import { setVariable } from '../../../src/bpf/collection/options.ts';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import type { Notice } from '../../../src/bpf/kernel/notice.ts';
import type { TraceEvent } from '../../../src/bpf/kernel/trace.ts';
import { createMap } from '../../../src/bpf/map/create.ts';
import { openPinnedMap } from '../../../src/bpf/map/open.ts';
import { openObject } from '../../../src/bpf/object/open.ts';
import { BPF_CMD } from '../../../src/bpf/uapi/cmd.gen.ts';
import { BPF_MAP_TYPE } from '../../../src/bpf/uapi/index.ts';
import { VerifierError } from '../../../src/bpf/verifier/error.ts';
import type { FfiBackend } from '../../../src/sys/backend.ts';
import { createBackend, hostArch } from '../../../src/sys/default-sys.ts';
import { openFs } from '../../../src/sys/detached-mount.ts';
import { Sys } from '../../../src/sys/sys.ts';
import { syscallNumber } from '../../../src/sys/syscall-table.ts';
import { kernelConfigText } from '../../support/kernel-config.ts';
import { bpftool } from '../bpftool.ts';
import { fixture } from '../../fixture.ts';
import { openRuntime } from '../runtime.ts';

const kernel = new Kernel();
const open = (): ReturnType<typeof openObject> => openRuntime(kernel);
const packet = new Uint8Array(64);
// A socket filter's test run takes the Ethernet header off (bpf_prog_test_run_skb).
const skbLength = 64 - 14;

t.test('loads, fills and runs', async (t) => {
  const collection = loadCollection(kernel, open());
  t.teardown(() => collection.close());
  t.same(
    [...collection.programs.keys()].toSorted(),
    open()
      .programs.filter(({ autoload }) => autoload)
      .map(({ name }) => name)
      .toSorted(),
  );
  // add(skb->len, section_var) + limits.low + hidden.
  t.equal(collection.program('sum').testRun({ data: packet }).returnValue, skbLength + 5 + 3 + 0);
  t.equal(collection.program('through_tail_call').testRun({ data: packet }).returnValue, 77, 'the prog array was filled');
  t.equal(collection.program('through_outer').testRun({ data: packet }).returnValue, 0, 'the outer map was filled');
  const hz = /^CONFIG_HZ=(\d+)$/m.exec(kernelConfigText())?.[1];
  t.equal(collection.variable('hz').get(), Number(hz), 'a kconfig extern');
  t.same(collection.variable('limits').get(), { low: 3, high: 1n << 40n });
});

t.test('what bpftool shows of it', async (t) => {
  const collection = loadCollection(kernel, open());
  t.teardown(() => collection.close());
  const sum = collection.program('sum').info();
  const shown = bpftool('prog', 'show', 'id', String(sum.id)) as {
    name: string;
    tag: string;
    map_ids: number[];
    type: string;
    btf_id: number;
  };
  t.match(shown, { name: 'sum', type: 'socket_filter', tag: sum.tag, btf_id: sum.btfId });
  t.same(new Set(shown.map_ids), new Set(sum.mapIds));
  t.ok(sum.btfId > 0);
  const names = new Map(
    [...collection.maps].map(([name, map]) => [name, (bpftool('map', 'show', 'id', String(map.info().id)) as { name: string }).name]),
  );
  // As bpf_map__name() of libbpf 1.8 cuts them: bpftool prog loadall, then bpftool map show.
  t.same(Object.fromEntries(names), {
    by_pid: 'by_pid',
    per_cpu: 'per_cpu',
    events: 'events',
    inner_map: 'inner_map',
    outer: 'outer',
    tail_calls: 'tail_calls',
    '.data': 'runtime.data',
    '.bss': 'runtime.bss',
    '.rodata': 'runtime.rodata',
    '.data.custom': '.data.custom',
    '.kconfig': 'runtime.kconfig',
  });
  const rodata = bpftool('map', 'show', 'id', String(collection.map('.rodata').info().id)) as { frozen?: number; flags: number };
  t.equal(rodata.frozen, 1);
  const lines = bpftool('prog', 'dump', 'xlated', 'id', String(sum.id), 'linum') as { src?: string }[];
  t.ok(
    lines.some(({ src }) => src?.includes('return add(skb->len, section_var)')),
    'the kernel has the line info',
  );
});

t.test('variables', async (t) => {
  const spec = open();
  const collection = loadCollection(kernel, spec, {
    variables: { wanted_pid: 4242, factor: -2, label: 'hello', limits: { low: 9, high: 5n }, section_var: 6 },
  });
  t.teardown(() => collection.close());
  t.equal(collection.variable('wanted_pid').get(), 4242);
  t.equal(collection.variable('factor').get(), -2);
  t.equal(collection.variable('label').get(), 'hello');
  t.equal(collection.variable('seen').get(), 0n);
  t.equal(collection.program('sum').testRun({ data: packet }).returnValue, skbLength + 6 + 9);
  collection.variable('section_var').set(100);
  t.equal(
    collection.program('sum').testRun({ data: packet }).returnValue,
    skbLength + 100 + 9,
    'written through memory, seen by the program',
  );
  collection.variable('seen').set(2n ** 63n);
  t.equal(collection.variable('seen').get(), 2n ** 63n);
  t.throws(() => collection.variable('wanted_pid').set(1), { code: 'E_VARIABLE_READONLY' });
  t.throws(() => collection.variable('wanted_pd'), { code: 'E_VARIABLE_NAME', next: 'did you mean wanted_pid?' });
  t.throws(() => loadCollection(kernel, spec, { variables: { factor: new Uint8Array(3) } }), { code: 'E_VARIABLE_SIZE' });
  t.equal(loadedFactor(spec), 3, 'the spec was not changed');
  setVariable(spec, 'factor', 8);
  t.equal(loadedFactor(spec), 8, 'unless it was meant to be');
});

function loadedFactor(spec: ReturnType<typeof openObject>): unknown {
  const collection = loadCollection(kernel, spec);
  try {
    return collection.variable('factor').get();
  } finally {
    collection.close();
  }
}

t.test('an outer map that is pinned already keeps what its maker put into it', async (t) => {
  const bpffs = openFs(kernel.sys, 'bpf');
  t.teardown(() => bpffs.close());
  const pinRoot = `${bpffs.path}/rawbpf-outer-${process.pid}`;
  mkdirSync(pinRoot);
  t.teardown(() => rmSync(pinRoot, { recursive: true, force: true }));
  const load = (): Collection => {
    const spec = open();
    const outer = spec.maps.find(({ name }) => name === 'outer');
    if (outer !== undefined) outer.pinning = 1;
    return loadCollection(kernel, spec, { pinRoot });
  };
  const innerId = (collection: Collection): number => {
    const id = collection.map('outer').lookup(Uint8Array.of(2, 0, 0, 0));
    return id === null ? 0 : new DataView(id.buffer, id.byteOffset).getUint32(0, true);
  };
  const first = load();
  t.teardown(() => first.close());
  const put = innerId(first);
  t.equal(put, first.map('inner_map').info().id);
  const second = load();
  t.teardown(() => second.close());
  t.equal(second.map('outer').info().id, first.map('outer').info().id, 'the pinned map is used');
  t.equal(innerId(second), put, 'libbpf fills only the outer maps that it has created, too');
});

t.test('globals that their arena is too small for are told, not thrown as a RangeError', (t) => {
  const spec = openObject(fixture('object/arena.bpf.o'));
  const arena = spec.maps.find(({ data, type }) => data !== null && type === BPF_MAP_TYPE.BPF_MAP_TYPE_ARENA);
  if (arena === undefined) throw new Error('no arena');
  arena.data = new Uint8Array(arena.maxEntries * kernel.pageSize + 1);
  t.throws(() => loadCollection(kernel, spec), { code: 'E_ARENA', where: { map: arena.name } });
  t.end();
});

t.test('an outer map is filled before it is pinned: whoever finds it finds its inner maps', (t) => {
  const bpffs = openFs(kernel.sys, 'bpf');
  t.teardown(() => bpffs.close());
  const pinRoot = `${bpffs.path}/rawbpf-filled-${process.pid}`;
  mkdirSync(pinRoot);
  t.teardown(() => rmSync(pinRoot, { recursive: true, force: true }));
  const inner = createBackend();
  const arch = hostArch();
  const whenPinned: (Uint8Array | null)[] = [];
  const backend: FfiBackend = {
    ...inner,
    syscall: (nr, args) => {
      const [command, attr] = args;
      const result = inner.syscall(nr, args);
      if (nr === syscallNumber(arch, 'bpf') && command === BPF_CMD.BPF_OBJ_PIN && attr instanceof Uint8Array && result === 0) {
        const found = openPinnedMap(kernel, `${pinRoot}/outer`);
        whenPinned.push(found.lookup(Uint8Array.of(2, 0, 0, 0)));
        found.close();
      }
      return result;
    },
  };
  const own = new Kernel({ sys: new Sys(backend, arch) });
  t.teardown(() => own.close());
  const spec = open();
  const outer = spec.maps.find(({ name }) => name === 'outer');
  if (outer !== undefined) outer.pinning = 1;
  const collection = loadCollection(own, spec, { pinRoot });
  t.teardown(() => collection.close());
  const id = Buffer.from(new Uint32Array([collection.map('inner_map').info().id]).buffer);
  t.same(
    whenPinned.map((bytes) => (bytes === null ? null : Buffer.from(bytes))),
    [id],
  );
  t.end();
});

t.test('names that JavaScript objects have by themselves name maps and programs', async (t) => {
  const spec = open();
  const map = spec.maps.find(({ name }) => name === 'by_pid');
  if (map === undefined) throw new Error('no map by_pid');
  const named = { ...spec, programs: [], variables: [], maps: [{ ...map, name: 'constructor' }] };
  const collection = loadCollection(kernel, named, { replaceMaps: {}, attachPrograms: {} });
  t.same([...collection.maps.keys()], ['constructor']);
  collection.close();
});

t.test('choices: sizes, maps of the caller, programs', async (t) => {
  const mine = createMap(kernel, { name: 'mine', type: 'BPF_MAP_TYPE_HASH', keySize: 4, valueSize: 24, maxEntries: 64 });
  const collection = loadCollection(kernel, open(), {
    mapSizes: { events: 64 * 1024 },
    replaceMaps: { by_pid: mine },
    programs: ['on_tracepoint', 'tail_target', 'optional'],
  });
  t.equal(collection.map('events').info().maxEntries, 64 * 1024);
  t.equal(collection.map('by_pid'), mine);
  t.same([...collection.programs.keys()], ['tail_target', 'on_tracepoint', 'optional']);
  collection.close();
  t.equal(mine.closed, false, 'a borrowed map stays the caller’s');
  mine.close();
  const other = createMap(kernel, { name: 'other', type: 'BPF_MAP_TYPE_HASH', keySize: 4, valueSize: 8, maxEntries: 64 });
  t.throws(() => loadCollection(kernel, open(), { replaceMaps: { by_pid: other } }), {
    code: 'E_MAP_MISMATCH',
    why: 'value_size is 8, the object wants 24',
  });
  other.close();
  t.throws(() => loadCollection(kernel, open(), { programs: ['on_tracepont'] }), { code: 'E_PROGRAM_NAME', next: /on_tracepoint/ });
  t.throws(() => loadCollection(kernel, open(), { mapSizes: { event: 1 } }), { code: 'E_MAP_NAME', next: /events/ });
});

t.test('a program that the verifier refuses', async (t) => {
  let error: unknown;
  try {
    loadCollection(kernel, open(), { programs: ['refused', 'tail_target'] });
  } catch (caught) {
    error = caught;
  }
  t.ok(error instanceof VerifierError);
  if (!(error instanceof VerifierError)) return;
  t.equal(error.code, 'E_VERIFIER');
  t.equal(error.program, 'refused');
  t.match(error.why, "R0 invalid mem access 'map_value_or_null'");
  t.match(error.next, 'check the pointer against NULL');
  t.equal(error.source?.text.trim(), 'return found->count;');
  t.equal(error.source?.file, 'fixtures/src/runtime.bpf.c');
  // Older verifiers do not print registers where this fails.
  if (error.registers.size > 0) t.match(error.registers.get('R0'), 'map_value_or_null');
  t.match(error.log, /processed \d+ insns/, 'the log is whole');
});

t.test('a poisoned relocation is named', async (t) => {
  t.throws(() => loadCollection(kernel, open(), { programs: ['poisoned', 'tail_target'] }), {
    code: 'E_CORE_POISONED',
    why: /byte_off.*struct task_struct___gone\.no_such_member/,
  });
});

t.test('going on without what this kernel refuses', async (t) => {
  const notices: Notice[] = [];
  const telling = new Kernel({ onNotice: (notice) => notices.push(notice) });
  const collection = loadCollection(telling, open(), { programs: ['refused', 'poisoned', 'tail_target', 'sum'], skipUnsupported: true });
  t.same(
    collection.skipped.map(({ spec, error }) => [spec.name, error.code]),
    [
      ['refused', 'E_VERIFIER'],
      ['poisoned', 'E_CORE_POISONED'],
    ],
  );
  t.equal(notices.filter(({ code }) => code === 'N_PROGRAM_SKIPPED').length, 2);
  t.ok(collection.programs.has('sum'));
  collection.close();
});

t.test('every step is told', async (t) => {
  const events: TraceEvent[] = [];
  const collection = loadCollection(new Kernel({ trace: (event) => events.push(event) }), open());
  collection.close();
  const steps = new Set(events.map(({ step }) => step));
  for (const step of ['btf', 'map', 'map_contents', 'relocation', 'program'] as const) t.ok(steps.has(step), step);
  t.match(
    events.find((event) => event.step === 'map' && event.name === 'events'),
    { maxEntries: 8192, from: 'created' },
  );
});

t.test('a kernel without ring buffers', async (t) => {
  const old = new Kernel({ buffer: 'perf' });
  t.equal(old.ringbuf, false);
  const collection = loadCollection(old, open(), { tracerMaps: ['events'] });
  t.match(bpftool('map', 'show', 'id', String(collection.map('events').info().id)), {
    type: 'perf_event_array',
    max_entries: old.possibleCpus.length,
  });
  collection.close();
});

t.test('an object of the other byte order', async (t) => {
  t.throws(() => loadCollection(kernel, openObject(fixture('tour.bpfeb.o'))), { code: 'E_BYTE_ORDER' });
});

t.test('a map for one program alone', async (t) => {
  const exclusiveMaps = { per_cpu: 'on_raw_tracepoint' };
  const refused = (): void =>
    loadCollection(kernel, open(), { exclusiveMaps, programs: ['on_raw_tracepoint', 'on_tp_btf', 'tail_target'] }).close();
  if (!knowsExclusiveMaps()) {
    // E2BIG where struct bpf_attr ends before the field, EINVAL where it is longer for another command's sake.
    t.throws(refused, { code: 'E_SYSCALL', message: /E2BIG|EINVAL/ });
    return;
  }
  const collection = loadCollection(kernel, open(), { exclusiveMaps, programs: ['on_raw_tracepoint', 'tail_target'] });
  t.ok(collection.programs.has('on_raw_tracepoint'), 'it has the very instructions');
  collection.close();
  t.throws(refused, /on_tp_btf/, 'another program may not');
  t.throws(() => loadCollection(kernel, open(), { exclusiveMaps: { nowhere: 'sum' } }), { code: 'E_MAP_NAME' });
  t.throws(() => loadCollection(kernel, open(), { exclusiveMaps: { per_cpu: 'som' } }), {
    code: 'E_PROGRAM_NAME',
    next: 'did you mean sum?',
  });
  t.throws(() => loadCollection(kernel, open(), { exclusiveMaps: { per_cpu: 'optional' } }), { code: 'E_EXCLUSIVE' });
});

/** Whether struct bpf_map says that it has a program of its own (Linux 6.18). */
function knowsExclusiveMaps(): boolean {
  const btf = kernel.vmlinuxBtf();
  const id = btf?.findByName('bpf_map', 'STRUCT') ?? null;
  const type = btf === null || id === null ? null : btf.type(id);
  return type?.kind === 'STRUCT' && type.members.some(({ name }) => name === 'excl_prog_sha');
}

t.test('the size of a struct_ops map is the object’s where externs are missing, as libbpf says it', async (t) => {
  const spec = openObject(fixture('attach/struct_ops.bpf.o'), { name: 'struct_ops', strict: true });
  const extern = {
    name: 'rawbpf_no_such_kfunc',
    kind: 'kfunc',
    weak: false,
    typeId: 0,
    offset: 0,
    size: 0,
    kconfigType: null,
    signed: false,
  } as const;
  const sizes = (of: typeof spec): number[] => tryPrograms(kernel, of).maps.map(({ valueSize }) => valueSize);
  t.same(
    sizes({ ...spec, externs: [...spec.externs, extern] }),
    spec.maps.map(({ valueSize }) => valueSize),
  );
  const value = kernel.vmlinuxBtf()?.findByName('bpf_struct_ops_tcp_congestion_ops', 'STRUCT') ?? null;
  if (value === null) return;
  t.not(sizes(spec).at(-1), spec.maps.at(-1)?.valueSize, 'the kernel’s struct has more in it');
});

t.test('a perf event array that was not reached when loading failed keeps its size, as libbpf says it', async (t) => {
  const spec = openObject(fixture('object/maps.bpf.o'), { name: 'maps', strict: true });
  const hash = spec.maps.find(({ origin, type }) => origin === 'btf' && type === BPF_MAP_TYPE.BPF_MAP_TYPE_HASH);
  if (hash === undefined) throw new Error('the fixture has a hash');
  const events = {
    ...hash,
    name: 'events',
    libbpfName: 'events',
    type: BPF_MAP_TYPE.BPF_MAP_TYPE_PERF_EVENT_ARRAY,
    keySize: 4,
    valueSize: 4,
  };
  const unsized = { ...events, maxEntries: 0, flags: 0, keyTypeId: 0, valueTypeId: 0, pinning: 0 };
  const impossible = { ...unsized, name: 'impossible', libbpfName: 'impossible', type: BPF_MAP_TYPE.BPF_MAP_TYPE_HASH };
  const entries = (maps: typeof spec.maps, more: Partial<typeof spec> = {}): unknown[] =>
    tryPrograms(kernel, { ...spec, programs: [], ...more, maps }).maps.map(({ name, maxEntries }) => [name, maxEntries]);
  const cpus = kernel.possibleCpus.length;
  t.same(
    entries([unsized, impossible]),
    [
      ['events', cpus],
      ['impossible', 0],
    ],
    'it came before',
  );
  t.same(
    entries([impossible, unsized]),
    [
      ['impossible', 0],
      ['events', 0],
    ],
    'it would have come later',
  );
  t.same(entries([unsized], { littleEndian: false }), [['events', 0]], 'nothing was tried');
});
