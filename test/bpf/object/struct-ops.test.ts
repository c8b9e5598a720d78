import t from 'tap';
import { LinkSession } from '../../../src/bpf/object/index.ts';
import type { BtfNewType } from '../../../src/btf/index.ts';
import { btfOf, kernel, open } from './support.ts';

const int = { kind: 'INT', name: 'int', size: 4, encoding: 1, bitOffset: 0, bits: 32 } as const;

/** A kernel whose struct has the members in another order, one more, and lacks `later`. */
function types(numberSize = 4): BtfNewType[] {
  return [
    int, // 1
    { kind: 'FUNC_PROTO', name: '', returnTypeId: 0, params: [] }, // 2
    { kind: 'PTR', name: '', typeId: 2, attribute: false }, // 3
    { kind: 'INT', name: 'char', size: 1, encoding: 1, bitOffset: 0, bits: 8 }, // 4
    { kind: 'ARRAY', name: '', typeId: 4, indexTypeId: 1, count: 8 }, // 5
    { kind: 'INT', name: 'number', size: numberSize, encoding: 1, bitOffset: 0, bits: numberSize * 8 }, // 6
    {
      kind: 'STRUCT',
      name: 'some_ops',
      size: 48,
      members: [
        { name: 'name', typeId: 5, bitOffset: 0, bitSize: 0 },
        { name: 'added', typeId: 3, bitOffset: 64, bitSize: 0 },
        { name: 'done', typeId: 3, bitOffset: 128, bitSize: 0 },
        { name: 'init', typeId: 3, bitOffset: 192, bitSize: 0 },
        { name: 'number', typeId: 6, bitOffset: 256, bitSize: 0 },
      ],
    }, // 7
    { kind: 'STRUCT', name: 'bpf_struct_ops_some_ops', size: 64, members: [{ name: 'data', typeId: 7, bitOffset: 128, bitSize: 0 }] }, // 8
  ];
}

t.test('the variables of struct_ops sections', async (t) => {
  const spec = open('struct_ops');
  t.match(
    spec.maps.map(({ name, type, autocreate, flags, structOps }) => ({ name, type, autocreate, flags, programs: structOps?.programs })),
    [
      {
        name: 'plain',
        type: 26,
        autocreate: true,
        flags: 0,
        programs: [
          { member: 0, program: 'init_impl' },
          { member: 2, program: 'done_impl' },
        ],
      },
      { name: 'linked', type: 26, autocreate: true, flags: 1 << 13, programs: [{ member: 0, program: 'init_impl' }] },
      { name: 'optional', type: 26, autocreate: false, flags: 1 << 13, programs: [{ member: 4, program: 'optional_impl' }] },
    ],
  );
});

t.test("they are fitted to the kernel's struct by names", async (t) => {
  const btf = btfOf(types());
  const session = new LinkSession(open('struct_ops'), kernel({ vmlinuxBtf: () => btf }));
  t.equal(session.error, null);
  t.match(session.structOps, [
    {
      map: 'plain',
      valueSize: 64,
      valueTypeId: 8,
      module: '',
      programs: [
        { offset: 16 + 24, program: 'init_impl' },
        { offset: 16 + 16, program: 'done_impl' },
      ],
    },
    { map: 'linked' },
  ]);
  const [plain] = session.structOps;
  t.equal(new TextDecoder().decode(plain?.data.subarray(16, 24)), 'plain\0\0\0');
  t.equal(plain?.data[16 + 32], 77);
  t.same(
    session.programs.map(({ name }) => name),
    ['init_impl', 'done_impl', 'unused_impl'],
    'a program only of a variable that is not created does not load',
  );
  const results = new Map(session.programs.map((program) => [program.name, session.link(program)]));
  t.match(results.get('init_impl'), { ok: true, program: { attachBtfId: 7, expectedAttachType: 3, attachError: null } });
  t.match(results.get('done_impl'), { ok: true, program: { attachBtfId: 7, expectedAttachType: 2, spec: { flags: 16 } } });
  t.match(results.get('unused_impl'), { ok: true, program: { attachBtfId: 0, attachError: { code: 'E_ATTACH_TARGET' } } });
});

t.test('what does not fit is an error that names the member', async (t) => {
  const wide = btfOf(types(8));
  t.match(new LinkSession(open('struct_ops'), kernel({ vmlinuxBtf: () => wide })).error, {
    code: 'E_STRUCT_OPS',
    message: /member number has 4 bytes, the kernel's 8/,
  });
  const spec = open('struct_ops');
  const optional = spec.maps.find(({ name }) => name === 'optional');
  if (optional === undefined) throw new Error('no map optional');
  optional.autocreate = true;
  const btf = btfOf(types());
  t.match(new LinkSession(spec, kernel({ vmlinuxBtf: () => btf })).error, { message: /no member later/ });
  t.match(new LinkSession(open('struct_ops'), kernel({ vmlinuxBtf: () => btfOf([int]) })).error, {
    message: /no struct bpf_struct_ops_some_ops/,
  });
});

t.test('a map whose members do not fit is sized as libbpf sizes it, and none after it', (t) => {
  const wide = btfOf(types(8));
  const spec = open('struct_ops');
  const sizes = (strict: boolean): unknown =>
    [...new LinkSession({ ...spec, strict }, kernel({ vmlinuxBtf: () => wide })).structOpsSizes].toSorted(([a], [b]) => a.localeCompare(b));
  t.same(sizes(true), [['plain', 64]]);
  t.same(sizes(false), [
    ['linked', 64],
    ['plain', 64],
  ]);
  t.end();
});
