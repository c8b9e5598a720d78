import t from 'tap';
import { Btf, BtfBuilder, buildDecoder, cDeclaration, declareTypes } from '../../../src/btf/index.ts';
import { idOf, valueFixture } from '../value/fixture.ts';

const { btf } = valueFixture('values.bpf.o');

t.test('an interface with the C declarations and places of bpftool and values.bpf.c', (t) => {
  t.equal(
    declareTypes(btf, [idOf(btf, 'packed_bits'), idOf(btf, 'tiny'), idOf(btf, '__u64')], { comment: ['By hand.'] }),
    `/** By hand. */
/** \`struct packed_bits\`, 20 bytes */
export interface packed_bits {
	/** \`__u8 first\`, at byte 0, 1 byte */
	first: number;
	/** \`__u32 b7 : 7\`, at byte 1, bit 0 */
	b7: number;
	/** \`__u32 b30 : 30\`, at byte 1, bit 7 */
	b30: number;
	/** \`__u64 b63 : 63\`, at byte 5, bit 5 */
	b63: bigint;
	/** \`int s31 : 31\`, at byte 13, bit 4 */
	s31: number;
	/** \`__u64 b2 : 2\`, at byte 17, bit 3 */
	b2: bigint;
	/** \`__u16 after\`, at byte 18, 2 bytes */
	after: number;
}

/**
 * \`enum tiny\`:
 * TINY_ONE = 1
 * TINY_TWO = 200
 */
export type tiny = number;

/** \`__u64\` */
export type __u64 = bigint;
`,
  );
  t.equal(declareTypes(btf, []), 'export {};\n');
  t.end();
});

t.test('every member of a decoded value is declared, in order', (t) => {
  const text = declareTypes(btf, [idOf(btf, 'everything')]);
  const [, body = ''] = /export interface everything \{\n(.*?)\n\}/s.exec(text) ?? [];
  const declared = [...body.matchAll(/^\t("?)([\w$]+)\1: /gm)].map(([, , name]) => name);
  const value = buildDecoder(btf, idOf(btf, 'everything')).read(new DataView(new ArrayBuffer(288)), 0, 288) as object;
  t.same(declared, Object.keys(value));
  t.end();
});

t.test('names that are no TypeScript names, and names met twice', (t) => {
  const builder = new BtfBuilder();
  const int = builder.add({ kind: 'INT', name: 'int', size: 4, encoding: 1, bitOffset: 0, bits: 32 });
  const add = (name: string, member: string): number =>
    builder.add({ kind: 'STRUCT', name, size: 4, members: [{ name: member, typeId: int, bitOffset: 0, bitSize: 0 }] });
  const ids = [add('string', 'class'), add('a */ b', '*/ x: any }'), add('twice', 'x'), add('twice', 'y')];
  const text = declareTypes(Btf.parse(builder.encode()), ids, { variables: [{ name: 'a-b', typeId: 2 }] });
  t.match(text, /export interface string_2 \{\n.*\n\tclass: number;/);
  t.match(text, /export interface a____b \{\n.*\n\t"\*\/ x: any }": number;/);
  t.match(text, /interface twice \{[^}]*x: number;\n}/);
  t.match(text, /interface twice_2 \{[^}]*y: number;\n}/);
  t.match(text, /\t"a-b": string_2;/);
  for (const [comment] of text.matchAll(/\/\*.*?\*\//gs)) t.notMatch(comment.slice(2, -2), /\*\//);
  t.end();
});

t.test('C declarations on one line', (t) => {
  const rows: [member: string, wanted: string][] = [
    ['function', 'int (*f)(int, void *)'],
    ['matrix', 'int f[2][3]'],
    ['broken', 'const char f[8]'],
    ['qualified', 'const volatile pid_like f'],
    ['either', 'union {...} f'],
    ['opaque', 'struct opaque *f'],
  ];
  const type = btf.type(idOf(btf, 'everything'));
  const members = new Map(type.kind === 'STRUCT' ? type.members.map((member) => [member.name, member.typeId]) : []);
  for (const [member, wanted] of rows) t.equal(cDeclaration(btf, members.get(member) ?? 0, 'f'), wanted);
  t.end();
});
