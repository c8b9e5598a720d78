import { randomFrom } from '../../hostile.ts';

/** A C program of random types, in two parts: their definitions, and tables of what the compiler makes of them. */
export interface RandomProgram {
  readonly definitions: string;
  /** Numbers (sizeof, offsetof) and initialised instances; every one a global in a section of its own. */
  readonly tables: string;
  /** Names of the globals in the tables. */
  readonly variables: readonly string[];
}

interface RandomType {
  readonly name: string;
  /** Members that an instance sets, with the way to write a value. */
  readonly leaves: readonly Leaf[];
  readonly isUnion: boolean;
}

interface Leaf {
  readonly name: string;
  readonly isBitfield: boolean;
  value(): string;
}

const integers = [
  'char',
  'signed char',
  'unsigned char',
  'short',
  'unsigned short',
  'int',
  'unsigned int',
  'long',
  'unsigned long long',
] as const;
const bits: Readonly<Record<string, number>> = {
  char: 8,
  'signed char': 8,
  'unsigned char': 8,
  short: 16,
  'unsigned short': 16,
  int: 32,
  'unsigned int': 32,
  long: 64,
  'unsigned long long': 64,
  _Bool: 8,
};

/** Makes a program of `count` structs and unions, later ones holding earlier ones, with every attribute that moves members. */
export function randomProgram(seed: number, count: number): RandomProgram {
  const random = randomFrom(seed);
  const chance = (percent: number): boolean => random(100) < percent;
  const pick = <T>(list: readonly T[]): T => list[random(list.length)] as T;
  const types: RandomType[] = [];
  let definitions = `enum small { S_A = 1, S_B = 200 } __attribute__((packed));
enum negative { N_A = -1, N_B = 100 } __attribute__((packed));
enum middle { M_A = 1, M_B = 60000 } __attribute__((packed));
enum plain { P_A = 0, P_B = 7 };
enum wide { W_A = 1, W_B = 0x1122334455667788 };
enum stretched { X_A = 1, X_B = 2 } __attribute__((mode(DI)));
typedef unsigned long long loose __attribute__((aligned(4)));
typedef int strict __attribute__((aligned(16)));
typedef __int128 s128;
struct incomplete;
`;
  let tables = '';
  const variables: string[] = [];
  let serial = 0;

  const memberName = (): string => `m${serial++}`;
  const number = (width: number): string => {
    // Both halves of the range, as an int constant expression of any width.
    const value = (BigInt(random(1 << 30)) << 34n) ^ (BigInt(random(1 << 30)) << 10n) ^ BigInt(random(1 << 10));
    return `${BigInt.asUintN(width, value)}ULL`;
  };

  const bitfield = (): { text: string; leaves: Leaf[] } => {
    const type = pick([...integers, '_Bool', 'enum plain', 'enum small'] as const);
    const width = type === '_Bool' ? 1 : type === 'enum small' ? 8 : 1 + random(bits[type] ?? 32);
    if (chance(8)) return { text: `${pick(integers)} : ${chance(50) ? 0 : 1 + random(7)};`, leaves: [] };
    const name = memberName();
    return { text: `${type} ${name} : ${width};`, leaves: [{ name, isBitfield: true, value: () => number(type === '_Bool' ? 1 : width) }] };
  };

  const scalar = (inArray = false): { text: (name: string) => string; value: () => string } => {
    switch (random(12)) {
      case 0:
        return { text: (name) => `void *${name}`, value: () => `(void *)${number(64)}` };
      case 1:
        return { text: (name) => `int (*${name})(struct incomplete *, ...)`, value: () => '0' };
      case 2:
        return { text: (name) => `_Bool ${name}`, value: () => number(1) };
      case 3:
        return { text: (name) => `double ${name}`, value: () => `${random(1000)}.5` };
      case 4:
        return { text: (name) => `s128 ${name}`, value: () => number(64) };
      case 5: {
        const type = pick(['small', 'negative', 'middle', 'plain', 'wide', 'stretched']);
        return { text: (name) => `enum ${type} ${name}`, value: () => String(1 + random(7)) };
      }
      case 6:
        return { text: (name) => `loose ${name}`, value: () => number(64) };
      case 7:
        // Its size is no multiple of its alignment: clang takes no arrays of it.
        if (inArray) return { text: (name) => `float ${name}`, value: () => '1.5' };
        return { text: (name) => `strict ${name}`, value: () => number(31) };
      default: {
        const type = pick(integers);
        return { text: (name) => `${chance(10) ? 'const ' : ''}${type} ${name}`, value: () => `(${type})${number(bits[type] ?? 8)}` };
      }
    }
  };

  const member = (depth: number): { text: string; leaves: Leaf[] } => {
    const attribute = chance(6) ? ` __attribute__((aligned(${2 ** (1 + random(5))})))` : chance(6) ? ' __attribute__((packed))' : '';
    const choice = random(100);
    if (choice < 30) return bitfield();
    if (choice < 40 && depth < 3) {
      const isUnion = chance(40);
      const inner = body(isUnion, depth + 1);
      if (chance(60))
        return {
          text: `${isUnion ? 'union' : 'struct'} {\n${inner.text}}${packing()};`,
          leaves: isUnion ? inner.leaves.slice(0, 1) : inner.leaves,
        };
      const name = memberName();
      return {
        text: `${isUnion ? 'union' : 'struct'} {\n${inner.text}}${packing()} ${name}${chance(30) ? '[2]' : ''};`,
        leaves: [{ name, isBitfield: false, value: () => '{}' }],
      };
    }
    const name = memberName();
    if (choice < 55 && types.length > 0) {
      const type = pick(types);
      const array = chance(25);
      const value = (): string => (array ? `{ ${instance(type)}, ${instance(type)} }` : instance(type));
      return {
        text: `${type.isUnion ? 'union' : 'struct'} ${type.name} ${name}${array ? '[2]' : ''}${attribute};`,
        leaves: [{ name, isBitfield: false, value }],
      };
    }
    const inArray = choice < 65;
    const { text, value } = scalar(inArray);
    if (inArray) {
      const [first, second] = [random(4), 1 + random(3)];
      return { text: `${text(`${name}[${first}][${second}]`)}${attribute};`, leaves: [{ name, isBitfield: false, value: () => '{}' }] };
    }
    return { text: `${text(name)}${attribute};`, leaves: [{ name, isBitfield: false, value }] };
  };

  const body = (isUnion: boolean, depth: number): { text: string; leaves: Leaf[] } => {
    let text = '';
    const leaves: Leaf[] = [];
    for (let i = 1 + random(isUnion ? 3 : 7); i > 0; i--) {
      const made = member(depth);
      text += `${made.text}\n`;
      leaves.push(...made.leaves);
    }
    return { text, leaves };
  };

  const packing = (): string => {
    const parts = [...(chance(25) ? ['packed'] : []), ...(chance(15) ? [`aligned(${2 ** random(7)})`] : [])];
    return parts.length === 0 ? '' : ` __attribute__((${parts.join(', ')}))`;
  };

  const instance = (type: RandomType): string => {
    const leaves = type.isUnion ? type.leaves.slice(0, 1) : type.leaves;
    return `{ ${leaves.map((leaf) => `.${leaf.name} = ${leaf.value()}`).join(', ')} }`;
  };

  for (let i = 0; i < count; i++) {
    const isUnion = chance(15);
    const made = body(isUnion, 0);
    const name = `t${i}`;
    const type = { name, leaves: made.leaves, isUnion };
    types.push(type);
    const tag = `${isUnion ? 'union' : 'struct'} ${name}`;
    definitions += `${tag} {\n${made.text}}${packing()};\n`;
    const offsets = made.leaves.filter((leaf) => !leaf.isBitfield).map((leaf) => `__builtin_offsetof(${tag}, ${leaf.name})`);
    tables += `unsigned long n${i}[] = { sizeof(${tag}), ${offsets.join(', ')} };\n${tag} v${i} = ${instance(type)};\n`;
    variables.push(`n${i}`, `v${i}`);
  }
  return { definitions, tables, variables };
}
