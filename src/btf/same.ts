import { BTF_KIND } from './types.ts';
import type { TypeTable } from './table.ts';

const { ENUM, ENUM64 } = BTF_KIND;

/** Whether two types agree in name, info, and size or type. */
export function sameHead(table: TypeTable, a: number, b: number): boolean {
  return sameNameAndInfo(table, a, b) && table.word(a, 2) === table.word(b, 2);
}

export function sameNameAndInfo(table: TypeTable, a: number, b: number): boolean {
  return table.word(a, 0) === table.word(b, 0) && table.word(a, 1) === table.word(b, 1);
}

/** Whether two types agree in every word: for kinds that refer to nothing, or whose references are canonical. */
export function sameWords(table: TypeTable, a: number, b: number): boolean {
  if (!sameHead(table, a, b)) return false;
  const length = table.wordsOf(a).length;
  for (let i = 3; i < length; i++) if (table.word(a, i) !== table.word(b, i)) return false;
  return true;
}

/** Whether two structs or unions agree in all but the types of their members. */
export function sameMembers(table: TypeTable, a: number, b: number): boolean {
  if (!sameHead(table, a, b)) return false;
  const vlen = table.vlen(a);
  for (let i = 3; i < 3 + vlen * 3; i += 3) {
    if (table.word(a, i) !== table.word(b, i) || table.word(a, i + 2) !== table.word(b, i + 2)) return false;
  }
  return true;
}

/** Whether two prototypes agree in all but the types of return value and parameters. */
export function sameParams(table: TypeTable, a: number, b: number): boolean {
  if (!sameNameAndInfo(table, a, b)) return false;
  const vlen = table.vlen(a);
  for (let i = 3; i < 3 + vlen * 2; i += 2) if (table.word(a, i) !== table.word(b, i)) return false;
  return true;
}

/** An enum without enumerators stands for one declared and not defined. */
export function isForwardEnum(table: TypeTable, id: number): boolean {
  return isEnum(table.kind(id)) && table.vlen(id) === 0;
}

/** Whether two enums are the same, or one is only declared and has the other's name. */
export function compatibleEnums(table: TypeTable, a: number, b: number): boolean {
  if (!isForwardEnum(table, a) && !isForwardEnum(table, b)) return sameWords(table, a, b);
  return table.name(a) === table.name(b) && isEnum(table.kind(a)) && isEnum(table.kind(b));
}

function isEnum(kind: number): boolean {
  return kind === ENUM || kind === ENUM64;
}
