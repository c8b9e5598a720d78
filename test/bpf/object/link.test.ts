import t from 'tap';
import { toHex } from '../../../src/bytes/index.ts';
import { type LinkedProgram, linkObject, linkProgram, LinkSession, type ObjectSpec } from '../../../src/bpf/object/index.ts';
import { openObject } from '../../../src/bpf/object/index.ts';
import { expected, fixtureBytes, kernel, open } from './support.ts';

function linked(spec: ObjectSpec, name: string): LinkedProgram {
  const result = linkObject(spec, kernel()).find((candidate) => (candidate.ok ? candidate.program.spec : candidate.spec).name === name);
  if (result?.ok !== true) throw new Error(`${name} did not link`, { cause: result?.error });
  return result.program;
}

t.test('maps and relocated programs are those of libbpf', async (t) => {
  const { linked: _, ...objects } = expected();
  for (const [name, want] of Object.entries(objects)) {
    const spec = open(name, { strict: true });
    t.same(
      spec.maps.map((map) => ({
        name: map.libbpfName,
        type: map.type,
        keySize: map.keySize,
        valueSize: map.valueSize,
        maxEntries: map.maxEntries,
        flags: map.flags,
        numaNode: map.numaNode,
        mapExtra: String(map.mapExtra),
        internal: ['data', 'rodata', 'bss', 'kconfig'].includes(map.origin),
      })),
      want.maps,
      `maps of ${name}`,
    );
    const session = new LinkSession(spec, kernel());
    t.same(
      session.programs.map((program) => program.name),
      want.programs.filter(({ insns }) => insns !== null).map((program) => program.name),
      `programs of ${name} that load`,
    );
    for (const program of session.programs) {
      const wanted = want.programs.find((candidate) => candidate.name === program.name);
      const result = session.link(program);
      if (!result.ok) t.fail(`${name}: ${program.name}`, { error: result.error });
      else {
        t.equal(toHex(result.program.insns), wanted?.insns, `instructions of ${program.name}`);
        t.equal(result.program.expectedAttachType, wanted?.attachType);
        t.equal(toHex(result.program.funcInfo.bytes), wanted?.funcInfo, `func_info of ${program.name}`);
        t.equal(toHex(result.program.lineInfo.bytes), wanted?.lineInfo, `line_info of ${program.name}`);
      }
    }
  }
});

t.test('a program linked alone is the same as one of all', async (t) => {
  const spec = open('calls');
  for (const result of linkObject(spec, kernel())) {
    if (!result.ok) throw result.error;
    const alone = linkProgram(spec, result.program.spec, kernel());
    t.same(alone.ok && alone.program.insns, result.program.insns, result.program.spec.name);
  }
});

t.test('programs that do not load by themselves can be linked', async (t) => {
  const spec = open('calls');
  const program = spec.programs.find(({ name }) => name === 'not_loaded');
  if (program === undefined) throw new Error('no program not_loaded');
  t.equal(program.autoload, false);
  const result = linkProgram(spec, program, kernel());
  t.same(result.ok && result.program.functions.map(({ name }) => name), ['not_loaded', 'unused']);
});

t.test('a big-endian object links to the same instructions', async (t) => {
  const little = linkObject(open('calls'), kernel());
  const spec = openObject(fixtureBytes('calls.bpfeb.o'), { name: 'calls' });
  t.equal(spec.littleEndian, false);
  const big = linkObject(spec, kernel());
  t.equal(big.length, little.length);
  for (const [i, result] of big.entries()) {
    const other = little[i];
    if (!result.ok || other?.ok !== true) throw new Error('a program did not link');
    t.same(result.program.insns, other.program.insns, result.program.spec.name);
    t.same(result.program.funcInfo.bytes, other.program.funcInfo.bytes);
    t.equal(result.program.lineInfo.count, other.program.lineInfo.count);
  }
});

t.test('subprograms stand in the order they are met', async (t) => {
  const { functions, fixups } = linked(open('calls'), 'third');
  t.equal(functions[0]?.name, 'third');
  t.same(
    functions.slice(1).map(({ name }) => name),
    ['step', 'hidden_leaf', 'each', 'leaf'],
  );
  t.ok(fixups.every(({ kind }) => kind === 'map_fd' || kind === 'map_value_fd'));
});

t.test('a map that is not created makes the code that uses it invalid', async (t) => {
  const spec = open('maps');
  const index = spec.maps.findIndex(({ name }) => name === 'typed');
  const map = spec.maps[index];
  if (map === undefined) throw new Error('no map typed');
  map.autocreate = false;
  const { insns, fixups } = linked(spec, 'use_all');
  t.notOk(fixups.some((fixup) => fixup.kind === 'map_fd' && fixup.map === 'typed'));
  const poison = `85000000${toHex(new Uint8Array(Uint32Array.of(2001000000 + index).buffer))}`;
  t.ok(toHex(insns).includes(poison + poison), 'both slots name the map in the verifier log');
});

t.test('jump tables are read for the program they are in', async (t) => {
  const { jumpTables, fixups, functions } = linked(open('jumptables'), 'main');
  t.same(
    functions.map(({ name, insn }) => [name, insn]),
    [
      ['main', 0],
      ['chosen', 9],
    ],
  );
  // .jumptables: bytes 32, 40 and 64 of section syscall; 64 and 80 of .text, where chosen begins at 16 and lands at slot 9.
  t.same(
    jumpTables.map((table) => [...table]),
    [
      [4, 5, 8],
      [15, 17],
    ],
  );
  t.same(
    fixups.map((fixup) => [fixup.insn, fixup.kind === 'jump_table_fd' && fixup.table]),
    [
      [0, 0],
      [6, 0],
      [9, 1],
    ],
  );
});

t.test('globals that their arena is too small for are refused by strict, as libbpf does', (t) => {
  const bytes = fixtureBytes('arena.bpf.o');
  t.equal(openObject(bytes, { strict: true }).maps.length > 0, true);
  // Pages so small that ten of them do not hold the globals.
  t.throws(() => openObject(bytes, { strict: true, pageSize: 1 }), { code: 'E_ARENA', where: { section: '.addr_space.1' } });
  t.doesNotThrow(() => openObject(bytes, { pageSize: 1 }), 'the user may size it yet');
  t.end();
});

t.test('arena globals are at the end of the arena where the kernel lets them be', async (t) => {
  const spec = open('arena');
  const atEnd = new LinkSession(spec, kernel({ has: () => true }));
  t.equal(atEnd.arenaOffset, 9 * 4096);
  t.equal(new LinkSession(spec, kernel({ has: () => true }), { pageSize: 16384 }).arenaOffset, 9 * 16384);
  const [first] = spec.programs;
  const result = first === undefined ? null : atEnd.link(first);
  t.equal(result?.ok === true && new DataView(result.program.insns.buffer).getUint32(12, true), 9 * 4096);
});

t.test('older kernels have one probe_read', async (t) => {
  const spec = open('calls');
  const code = spec.code.get(spec.programs[0]?.sectionIndex ?? 0);
  t.ok(code, 'there is code');
  for (const [id, old] of [
    [112, 4],
    [113, 4],
    [114, 45],
    [115, 45],
  ] as const) {
    const source = open('sections');
    const [program] = source.programs;
    if (program === undefined) throw new Error('no program');
    // Turns `r0 = 0` into a call.
    const bytes = Uint8Array.of(0x85, 0, 0, 0, id, 0, 0, 0);
    const section = source.code.get(program.sectionIndex);
    section?.insns.set(bytes, program.sectionInsn * 8);
    const modern = linkProgram(source, program, kernel());
    const before = linkProgram(source, program, kernel({ has: (feature) => feature !== 'probe_read_kernel' }));
    t.equal(modern.ok && modern.program.insns[4], id);
    t.equal(before.ok && before.program.insns[4], old);
  }
});
