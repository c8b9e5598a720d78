import t from 'tap';
import { Btf, BtfBuilder, dumpC, type BtfNewType, type DumpCOptions } from '../../../src/btf/index.ts';
import { checkSurvey, flips, mutations, survey } from '../../hostile.ts';
import { idOf, tour } from '../tour.ts';

const text = (btf: Btf, options?: DumpCOptions): string => [...dumpC(btf, options)].join('');
/** What stands between the frame at top and bottom. */
const inner = (btf: Btf, options?: DumpCOptions): string => {
  const whole = text(btf, options);
  const [, body = 'no frame'] = /^#ifndef __VMLINUX_H__\n#define __VMLINUX_H__\n\n(.*)#endif \/\* __VMLINUX_H__ \*\/\n$/s.exec(whole) ?? [];
  return body.replace(/^#ifndef BPF_NO_PRESERVE_ACCESS_INDEX\n#pragma clang attribute [^\n]*\n#endif\n\n/gm, '');
};
const int: BtfNewType = { kind: 'INT', name: 'int', size: 4, encoding: 1, bitOffset: 0, bits: 32 };

function build(...types: readonly BtfNewType[]): Btf {
  const builder = new BtfBuilder();
  for (const type of types) builder.add(type);
  return Btf.parse(builder.encode());
}

function dump(bytes: Uint8Array): void {
  text(Btf.parse(bytes));
}

const struct = (name: string, size: number, ...members: readonly (readonly [string, number, number, number?])[]): BtfNewType => ({
  kind: 'STRUCT',
  name,
  size,
  members: members.map(([member, typeId, bitOffset, bitSize = 0]) => ({ name: member, typeId, bitOffset, bitSize })),
});

t.test('a name of 512 characters that is taken keeps its suffix wherever it stands', async (t) => {
  const long = 'n'.repeat(512);
  const alias = (typeId: number): BtfNewType => ({ kind: 'TYPEDEF', name: long, typeId, attribute: false });
  const whole = text(build(int, struct(long, 4, ['x', 1, 0]), alias(1), alias(2), struct('user', 8, ['a', 3, 0], ['b', 4, 32])));
  t.match(whole, `typedef int ${long};`);
  t.match(whole, `typedef struct ${long} ${long}___2;`);
  t.match(whole, `\t${long} a;\n\t${long}___2 b;`);
});

t.test('members and parameters that are no names of C are made some', async (t) => {
  const params = [
    { name: 'int', typeId: 1 },
    { name: '9', typeId: 1 },
  ];
  const btf = build(
    int,
    { kind: 'FUNC_PROTO', name: '', returnTypeId: 1, params },
    { kind: 'PTR', name: '', typeId: 2, attribute: false },
    struct('s', 16, ['for', 1, 0], ['a b', 1, 32], ['call', 3, 64]),
  );
  t.match(text(btf), 'struct s {\n\tint for_;\n\tint a_b;\n\tint (*call)(int int_, int _9);\n};');
});

t.test('a struct that points to another which comes later is declared, one held by value is defined first', (t) => {
  const btf = build(
    int,
    struct('outer', 16, ['next', 3, 0], ['held', 4, 64]),
    { kind: 'PTR', name: '', typeId: 5, attribute: false },
    struct('held', 4, ['x', 1, 0]),
    struct('far', 4, ['x', 1, 0]),
  );
  t.equal(
    inner(btf),
    `struct far;

struct held {
	int x;
};

struct outer {
	struct far *next;
	struct held held;
};

struct far {
	int x;
};

`,
  );
  t.end();
});

t.test('declarators', (t) => {
  const btf = build(
    int,
    { kind: 'PTR', name: '', typeId: 3, attribute: false },
    {
      kind: 'FUNC_PROTO',
      name: '',
      returnTypeId: 4,
      params: [
        { name: 'self', typeId: 5 },
        { name: '', typeId: 0 },
      ],
    },
    { kind: 'PTR', name: '', typeId: 0, attribute: false },
    { kind: 'CONST', name: '', typeId: 4, attribute: false },
    { kind: 'ARRAY', name: '', typeId: 2, indexTypeId: 1, count: 3 },
    { kind: 'ARRAY', name: '', typeId: 6, indexTypeId: 1, count: 2 },
    { kind: 'TYPEDEF', name: 'table', typeId: 7, attribute: false },
    { kind: 'PTR', name: '', typeId: 7, attribute: false },
    { kind: 'TYPEDEF', name: 'to_table', typeId: 9, attribute: false },
    { kind: 'FUNC_PROTO', name: '', returnTypeId: 1, params: [] },
    { kind: 'TYPEDEF', name: 'function', typeId: 11, attribute: false },
  );
  t.equal(
    inner(btf),
    `typedef void *(*table[2][3])(void *const self, ...);

typedef void *(*(*to_table)[2][3])(void *const self, ...);

typedef int function(void);

`,
  );
  t.end();
});

t.test('packing, holes and bitfields', (t) => {
  const char: BtfNewType = { kind: 'INT', name: 'char', size: 1, encoding: 1, bitOffset: 0, bits: 8 };
  const btf = build(
    int,
    char,
    struct('tight', 5, ['c', 2, 0], ['x', 1, 8]),
    struct('hole', 16, ['c', 2, 0], ['x', 1, 96]),
    struct('bits', 8, ['a', 1, 0, 3], ['b', 1, 30, 2], ['c', 1, 40, 5]),
    struct('tail', 8, ['c', 2, 0]),
    struct('half', 6, ['c', 2, 0], ['x', 1, 16]),
  );
  t.equal(
    inner(btf),
    `struct tight {
	char c;
	int x;
} __attribute__((packed));

struct hole {
	char c;
	long: 56;
	int: 32;
	int x;
};

struct bits {
	int a: 3;
	int: 27;
	int b: 2;
	char: 8;
	int c: 5;
};

struct tail {
	char c;
	long: 56;
};

struct half {
	char c;
	char: 8;
	int x;
} __attribute__((packed, aligned(2)));

`,
  );
  t.end();
});

t.test('names that clash, that C knows otherwise, or that are no names', (t) => {
  const btf = build(
    int,
    struct('same', 4, ['x', 1, 0]),
    struct('same', 4, ['y', 1, 0]),
    { kind: 'FWD', name: 'same', target: 'UNION' },
    { kind: 'FWD', name: 'same', target: 'STRUCT' },
    { kind: 'TYPEDEF', name: 'same', typeId: 3, attribute: false },
    { kind: 'ENUM', name: 'e', size: 4, signed: false, values: [{ name: 'same', value: 1n }] },
    struct('Vec<u8>; system("x"); {', 4, ['default', 1, 0]),
    { kind: 'TYPEDEF', name: '9\n#include', typeId: 1, attribute: false },
    { kind: 'TYPEDEF', name: '__builtin_va_list', typeId: 1, attribute: false },
    { kind: 'INT', name: 'usize', size: 8, encoding: 0, bitOffset: 0, bits: 64 },
    { kind: 'TYPEDEF', name: 'size', typeId: 11, attribute: false },
    { kind: 'TYPE_TAG', name: 'x"))) int y; //', typeId: 1, attribute: false },
    { kind: 'PTR', name: '', typeId: 13, attribute: false },
    { kind: 'TYPEDEF', name: 'tagged', typeId: 14, attribute: false },
  );
  t.equal(
    inner(btf),
    `struct same {
	int x;
};

struct same___2 {
	int y;
};

union same___3;

struct same;

typedef struct same___2 same;

enum e {
	same___2 = 1,
};

struct Vec_u8___system__x_____ {
	int default_;
};

typedef int _9__include;

typedef int __builtin_va_list_;

typedef unsigned long long size;

typedef int *tagged;

`,
  );
  t.end();
});

t.test('the attribute for CO-RE is there for records, and only for them', (t) => {
  t.match(text(build(int, struct('s', 4, ['x', 1, 0]))), /#pragma clang attribute push .*#pragma clang attribute pop/s);
  t.notMatch(text(build(int, { kind: 'TYPEDEF', name: 'number', typeId: 1, attribute: false })), /#pragma/);
  t.end();
});

t.test('hundreds of namesakes with long names, each written with its own', (t) => {
  const name = 'a'.repeat(100);
  const count = 300;
  const enums = Array.from({ length: count }, (_, i): BtfNewType => ({
    kind: 'ENUM',
    name,
    size: 4,
    signed: false,
    values: [{ name, value: BigInt(i) }],
  }));
  const body = inner(build(...enums));
  const expected = Array.from({ length: count }, (_, i) => {
    const own = i === 0 ? name : `${name}___${i + 1}`;
    return `enum ${own} {\n\t${own} = ${i},\n};\n\n`;
  });
  t.equal(body, expected.join(''));
  t.end();
});

t.test('only chosen types, with what they hold', (t) => {
  const { btf } = tour();
  t.equal(
    inner(btf, { types: [idOf(btf, 'node')] }),
    `typedef unsigned int u32;

struct node {
	struct node *next;
	struct node *volatile *const prev;
	u32 value;
};

`,
  );
  t.end();
});

t.test('prototypes of kfuncs, and a comment', (t) => {
  const btf = build(
    int,
    { kind: 'FUNC_PROTO', name: '', returnTypeId: 1, params: [{ name: 'int', typeId: 1 }] },
    { kind: 'FUNC', name: 'bpf_z', typeId: 2, linkage: 0 },
    { kind: 'FUNC', name: 'bpf_a', typeId: 2, linkage: 0 },
    { kind: 'FUNC', name: 'no_kfunc', typeId: 2, linkage: 0 },
    { kind: 'DECL_TAG', name: 'bpf_kfunc', typeId: 3, componentIndex: -1, attribute: false },
    { kind: 'DECL_TAG', name: 'bpf_kfunc', typeId: 4, componentIndex: -1, attribute: false },
    { kind: 'DECL_TAG', name: 'bpf_fastcall', typeId: 4, componentIndex: -1, attribute: false },
  );
  t.match(
    text(btf),
    `#ifndef BPF_NO_KFUNC_PROTOTYPES
extern __bpf_fastcall int bpf_a(int int_) __weak __ksym;
extern int bpf_z(int int_) __weak __ksym;
#endif
`,
  );
  const plain = text(btf, { kfuncs: false, comment: 'of */ here\nand there' });
  t.notMatch(plain, /bpf_a/);
  t.match(plain, /^\/\*\n \* of \* \/ here\n \* and there\n \*\/\n#ifndef __VMLINUX_H__/);
  t.end();
});

t.test('types that are not C are refused or survived', (t) => {
  t.throws(() => text(build(int, struct('self', 8, ['x', 1, 0], ['again', 2, 32]))), { code: /E_BTF_(LOOP|DEPTH)/ });
  t.throws(
    () =>
      text(build({ kind: 'TYPEDEF', name: 'a', typeId: 2, attribute: false }, { kind: 'TYPEDEF', name: 'b', typeId: 1, attribute: false })),
    {
      code: /E_BTF_(LOOP|DEPTH)/,
    },
  );
  // Forty anonymous structs, each holding the next twice at one place: two to the power of forty members if written out.
  const nest = Array.from({ length: 40 }, (_, i) => struct('', 4, ['', i + 3, 0], ['', i + 3, 0]));
  t.throws(() => text(build(int, ...nest, struct('', 4, ['x', 1, 0]), struct('top', 4, ['', 2, 0]))), { code: 'E_BTF_SIZE' });
  t.match(inner(build(int, struct('overlap', 8, ['a', 1, 0], ['b', 1, 16], ['c', 1, 32]))), /b overlaps/);
  t.end();
});

t.test('damaged BTF gives text or typed errors', (t) => {
  const { raw } = tour();
  checkSurvey(t, 'flips', survey(flips(raw, 24, raw.length, 41), dump));
  checkSurvey(t, 'mutations', survey(mutations(raw, 80, 5), dump));
  t.end();
});
