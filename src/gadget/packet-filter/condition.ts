/** A number that a filter computes from a packet, 32 bits without sign. */
export type Value =
  | { readonly kind: 'number'; readonly value: number }
  /** Bytes of the packet in network order; a packet that ends before them does not match, whatever the rest says. */
  | { readonly kind: 'load'; readonly at: Value; readonly size: 1 | 2 | 4 }
  | { readonly kind: 'metadata'; readonly name: Metadata }
  | { readonly kind: 'binary'; readonly op: ArithmeticOp; readonly left: Value; readonly right: Value };

/**
 * What the kernel knows of a packet: its length on the wire, whether the kernel took a VLAN tag out of it and which, and how far
 * such a tag would shift what follows it.
 */
export type Metadata = 'len' | 'vlan_present' | 'vlan_tci' | 'vlan_shift';

export type ArithmeticOp = 'ADD' | 'SUB' | 'MUL' | 'DIV' | 'MOD' | 'AND' | 'OR' | 'XOR' | 'LSH' | 'RSH';
export type Relation = 'JEQ' | 'JNE' | 'JGT' | 'JGE' | 'JLT' | 'JLE';

/** What a filter asks of a packet. */
export type Condition =
  | { readonly kind: 'compare'; readonly relation: Relation; readonly left: Value; readonly right: Value }
  | { readonly kind: 'and' | 'or'; readonly left: Condition; readonly right: Condition }
  | { readonly kind: 'not'; readonly of: Condition };

export const number = (value: number): Value => ({ kind: 'number', value });

export const metadata = (name: Metadata): Value => ({ kind: 'metadata', name });

export const load = (at: Value, size: 1 | 2 | 4): Value => ({ kind: 'load', at, size });

/** Two values as one; numbers are put together at once. */
export function binary(op: ArithmeticOp, left: Value, right: Value): Value {
  if (left.kind === 'number' && right.kind === 'number') return number(compute(op, left.value, right.value));
  if (op === 'ADD' && left.kind === 'number' && left.value === 0) return right;
  if (op === 'ADD' && right.kind === 'number' && right.value === 0) return left;
  return { kind: 'binary', op, left, right };
}

/** Divisors that are zero are refused before. */
function compute(op: ArithmeticOp, a: number, b: number): number {
  switch (op) {
    case 'ADD':
      return (a + b) >>> 0;
    case 'SUB':
      return (a - b) >>> 0;
    case 'MUL':
      return Math.imul(a, b) >>> 0;
    case 'DIV':
      return Math.trunc(a / b) >>> 0;
    case 'MOD':
      return a % b;
    case 'AND':
      return (a & b) >>> 0;
    case 'OR':
      return (a | b) >>> 0;
    case 'XOR':
      return (a ^ b) >>> 0;
    case 'LSH':
      return b > 31 ? 0 : (a << b) >>> 0;
    case 'RSH':
      return b > 31 ? 0 : a >>> b;
  }
}

export const compare = (relation: Relation, left: Value, right: Value): Condition => ({ kind: 'compare', relation, left, right });

export const equal = (left: Value, right: number): Condition => compare('JEQ', left, number(right));

/** Whether the bits of `mask` are those of `wanted`. */
export function masked(value: Value, mask: number, wanted: number): Condition {
  return equal(mask === 0xffff_ffff ? value : mask === 0 ? number(0) : binary('AND', value, number(mask)), wanted);
}

/** All of them, tried in this order. */
export function all(...conditions: readonly [Condition, ...Condition[]]): Condition {
  return conditions.reduce((left, right) => ({ kind: 'and', left, right }));
}

/** One of them, tried in this order. */
export function any(...conditions: readonly [Condition, ...Condition[]]): Condition {
  return conditions.reduce((left, right) => ({ kind: 'or', left, right }));
}

export const not = (of: Condition): Condition => ({ kind: 'not', of });
