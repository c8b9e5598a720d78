import t from 'tap';
import { parseUsdtArgs, type UsdtArg, type UsdtPlace } from '../../../src/bpf/link/usdt/arg.ts';
import { findUsdtProbe, listUsdtProbes, parseUsdtTarget } from '../../../src/bpf/link/usdt/probes.ts';
import { encodeSpec, specLayout, UsdtSpecs, type SpecLayout } from '../../../src/bpf/link/usdt/specs.ts';
import type { BpfMap } from '../../../src/bpf/map/map.ts';
import { fileURLToPath } from 'node:url';

const target = fileURLToPath(new URL('../../../../fixtures/usdt/target.x64', import.meta.url));
const plain = fileURLToPath(new URL('../../../../fixtures/calls/calls', import.meta.url));
const variables = { counter: 0x205000n };
const symbol = (name: string): bigint | null => new Map(Object.entries(variables)).get(name) ?? null;
const one = (text: string, arch: 'x64' | 'arm64'): UsdtArg | undefined => parseUsdtArgs(text, { arch, location: 0x201000n, symbol })[0];

t.test('operands of x86-64', async (t) => {
  // Offsets in struct pt_regs: rbp 32, rbx 40, r8 72, rax 80, rdi 112, rip 128, rsp 152.
  const rows: readonly (readonly [text: string, size: number, signed: boolean, place: UsdtPlace])[] = [
    ['-4@$-9', 4, true, { kind: 'const', value: -9n }],
    ['8@$0x10', 8, false, { kind: 'const', value: 16n }],
    ['8@%rax', 8, false, { kind: 'register', register: 80 }],
    ['-4@%ebx', 4, true, { kind: 'register', register: 40 }],
    ['2@%ax', 2, false, { kind: 'register', register: 80 }],
    ['1@%al', 1, false, { kind: 'register', register: 80 }],
    ['1@%ah', 1, false, { kind: 'register', register: 81 }],
    ['1@%dil', 1, false, { kind: 'register', register: 112 }],
    ['-1@%r8b', 1, true, { kind: 'register', register: 72 }],
    ['-4@-1204(%rbp)', 4, true, { kind: 'memory', register: 32, offset: -1204n }],
    ['8@(%rax)', 8, false, { kind: 'memory', register: 80, offset: 0n }],
    ['-4@16+8(%rsp)', 4, true, { kind: 'memory', register: 152, offset: 24n }],
    ['-1@-96(%rbp,%rax,8)', 1, true, { kind: 'indexed', register: 32, index: 80, shift: 3, offset: -96n }],
    ['4@(%rdi,%rax)', 4, false, { kind: 'indexed', register: 112, index: 80, shift: 0, offset: 0n }],
    ['4@( %rdi , %rax , 2 )', 4, false, { kind: 'indexed', register: 112, index: 80, shift: 1, offset: 0n }],
    ['-4@counter(%rip)', 4, true, { kind: 'memory', register: 128, offset: 0x4000n }],
    ['-4@counter+8(%rip)', 4, true, { kind: 'memory', register: 128, offset: 0x4008n }],
  ];
  for (const [text, size, signed, place] of rows) t.same(one(text, 'x64'), { size, signed, place }, text);
});

t.test('operands of arm64', async (t) => {
  const rows: readonly (readonly [text: string, size: number, signed: boolean, place: UsdtPlace])[] = [
    ['-4@5', 4, true, { kind: 'const', value: 5n }],
    ['8@-1', 8, false, { kind: 'const', value: -1n }],
    ['4@wzr', 4, false, { kind: 'const', value: 0n }],
    ['8@x4', 8, false, { kind: 'register', register: 32 }],
    ['-4@w30', 4, true, { kind: 'register', register: 240 }],
    ['8@sp', 8, false, { kind: 'register', register: 248 }],
    ['4@[x2]', 4, false, { kind: 'memory', register: 16, offset: 0n }],
    ['-1@[sp, 60]', 1, true, { kind: 'memory', register: 248, offset: 60n }],
    ['-1@[x29,-32]', 1, true, { kind: 'memory', register: 232, offset: -32n }],
    ['8@[x0, x1]', 8, false, { kind: 'indexed', register: 0, index: 8, shift: 0, offset: 0n }],
    ['8@[x0, x1, lsl 3]', 8, false, { kind: 'indexed', register: 0, index: 8, shift: 3, offset: 0n }],
  ];
  for (const [text, size, signed, place] of rows) t.same(one(text, 'arm64'), { size, signed, place }, text);
});

t.test('many arguments, and none', async (t) => {
  t.equal(parseUsdtArgs('-4@[sp, 60] 8@x1  1@[x2,x3, lsl 1]', { arch: 'arm64' }).length, 3);
  t.equal(parseUsdtArgs('8@%rbx 8@%r15 ', { arch: 'x64' }).length, 2);
  t.same(parseUsdtArgs('', { arch: 'x64' }), []);
  t.same(parseUsdtArgs('  ', { arch: 'arm64' }), []);
});

t.test('what cannot be read', async (t) => {
  const rows: readonly (readonly [text: string, arch: 'x64' | 'arm64', why: RegExp])[] = [
    ['8@%xmm0', 'x64', /no register %xmm0/],
    ['8f@%xmm0', 'x64', /floating-point/],
    ['3@%rax', 'x64', /size/],
    ['rax', 'x64', /SIZE@OPERAND/],
    ['4@', 'x64', /SIZE@OPERAND/],
    ['4@nothing(%rip)', 'x64', /no variable nothing/],
    ['4@counter(%rax)', 'x64', /by %rip only/],
    ['4@8(,%rax,4)', 'x64', /no base/],
    ['4@8(%rax,%rbx,3)', 'x64', /neither/],
    ['4@0x1234', 'x64', /neither/],
    ['8@x31', 'arm64', /no register x31/],
    ['8@[x0, w1, sxtw 3]', 'arm64', /64 bits/],
    ['8@[x0, x1, ror 3]', 'arm64', /not shifted/],
    ['8@[x0, 8]!', 'arm64', /SIZE@OPERAND/],
  ];
  for (const [text, arch, why] of rows) t.throws(() => one(text, arch), { code: 'E_USDT_ARG', why }, text);
});

t.test('what libbpf 1.8 writes into __bpf_usdt_specs for the same places', async (t) => {
  // A program linked to libbpf 1.8 attached to fixtures/usdt/target.x64 and printed the map's bytes, 24 for an argument.
  const rows: readonly (readonly [name: string, cookie: bigint, expected: readonly string[]])[] = [
    [
      'kinds',
      0x55n,
      [
        '000000000000000001000000000070000138000000000000',
        '000000000000000001000000000068000030000000000000',
        '000000000000000001000000000060000120000000000000',
        '000000000000000001000000000058000000000000000000',
        'f7ffffffffffffff00000000000000000120000000000000',
        '2a0000000000000000000000000000000020000000000000',
        'fcffffffffffffff02000000000098000120000000000000',
      ],
    ],
    ['indexed', 0x55n, ['040000000000000003007020000050000120000000000000']],
  ];
  const layout = specLayout(304) as SpecLayout;
  for (const [name, cookie, expected] of rows) {
    const args = findUsdtProbe({ path: target, provider: 'rawbpf', name }, 'x64', () => false).sites[0]?.args() ?? [];
    const tail = `${'0'.repeat(48 * (12 - expected.length))}550000000000000000`.slice(0, -2);
    const bytes = Buffer.from(encodeSpec(layout, args, cookie)).toString('hex');
    t.equal(bytes.slice(0, 48 * expected.length), expected.join(''), name);
    t.equal(bytes.slice(48 * expected.length), `${tail}0${expected.length}00000000000000`, `${name}: cookie and count`);
  }
});

t.test('the older layout, without an index', async (t) => {
  const layout = specLayout(208) as SpecLayout;
  const bytes = encodeSpec(layout, [one('-4@-8(%rbp)', 'x64') as UsdtArg], -1n);
  // val_off -8, BPF_USDT_ARG_REG_DEREF, reg_off 32, signed, 32 bits to clear.
  t.equal(Buffer.from(bytes.subarray(0, 16)).toString('hex'), 'f8ffffffffffffff0200000020000120');
  t.equal(Buffer.from(bytes.subarray(192)).toString('hex'), 'ffffffffffffffff0100000000000000');
  t.equal(specLayout(200), null);
});

t.test('a place is given back where the map did not take what was to be written into it', async (t) => {
  const refused = new Error('refused');
  let refuses = true;
  const map = {
    maxEntries: 1,
    update: () => {
      if (refuses) throw refused;
    },
  } as unknown as BpfMap;
  const specs = new UsdtSpecs(map, specLayout(304) as SpecLayout, null);
  for (let i = 0; i < 3; i++) t.throws(() => specs.take([], 0n), refused);
  refuses = false;
  t.equal(specs.take([], 0n), 0);
  t.throws(() => specs.take([], 0n), { code: 'E_USDT_FULL' });
  specs.giveBack(0);
  t.equal(specs.take([], 0n), 0);
});

t.test('targets and look-up', async (t) => {
  t.same(parseUsdtTarget('/a:b/c:p:n'), { path: '/a:b/c', provider: 'p', name: 'n' });
  for (const text of ['', 'a:b', ':b:c', 'a::c', 'a:b:']) t.throws(() => parseUsdtTarget(text), { code: 'E_USDT_TARGET' }, text);
  t.equal(listUsdtProbes(target).length, 6);
  const find = (provider: string, name: string) => findUsdtProbe({ path: target, provider, name }, 'x64', () => true);
  t.equal(find('rawbpf', 'twice').sites.length, 2);
  t.match(find('rawbpf', 'kinds'), { fixedAddress: true, sites: [{ location: 0x2012e6n, semaphoreOffset: 0 }] });
  t.throws(() => find('rawbpf', 'kind'), { code: 'E_USDT', next: 'did you mean rawbpf:kinds?' });
  t.throws(() => findUsdtProbe({ path: plain, provider: 'rawbpf', name: 'x' }, 'x64', () => true), {
    code: 'E_USDT',
    why: /declares none/,
  });
  t.throws(() => listUsdtProbes('/no/such/file'), { code: 'E_BINARY' });
});
