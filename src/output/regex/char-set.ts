/** Code points as sorted ranges, first and last of each after the other, that neither touch nor overlap. */
export type CharSet = readonly number[];

export const lastCodePoint = 0x10ffff;

/** Ranges in any order, put in order and joined. */
export function charSet(ranges: readonly number[]): CharSet {
  const pairs: [number, number][] = [];
  for (let i = 0; i < ranges.length; i += 2) pairs.push([ranges[i] as number, ranges[i + 1] as number]);
  pairs.sort(([a], [b]) => a - b);
  const joined: number[] = [];
  for (const [first, last] of pairs) {
    const end = joined.at(-1);
    if (end !== undefined && first <= end + 1) joined[joined.length - 1] = Math.max(end, last);
    else joined.push(first, last);
  }
  return joined;
}

export function complement(set: CharSet): CharSet {
  const rest: number[] = [];
  let next = 0;
  for (let i = 0; i < set.length; i += 2) {
    const first = set[i] as number;
    if (first > next) rest.push(next, first - 1);
    next = (set[i + 1] as number) + 1;
  }
  if (next <= lastCodePoint) rest.push(next, lastCodePoint);
  return rest;
}

export function has(set: CharSet, code: number): boolean {
  for (let i = 0; i < set.length; i += 2) if (code >= (set[i] as number) && code <= (set[i + 1] as number)) return true;
  return false;
}

const range = (first: string, last: string): [number, number] => [first.charCodeAt(0), last.charCodeAt(0)];
export const digit: CharSet = range('0', '9');
export const word: CharSet = charSet([...digit, ...range('A', 'Z'), ...range('a', 'z'), ...range('_', '_')]);
export const space: CharSet = charSet([0x09, 0x0a, 0x0c, 0x0d, 0x20, 0x20]);

const upper = range('A', 'Z');
const lower = range('a', 'z');

/** `[[:alpha:]]` and its kin, as POSIX and RE2 have them. */
export const posixSets: ReadonlyMap<string, CharSet> = new Map<string, CharSet>([
  ['alnum', charSet([...digit, ...upper, ...lower])],
  ['alpha', charSet([...upper, ...lower])],
  ['ascii', [0, 0x7f]],
  ['blank', charSet([0x09, 0x09, 0x20, 0x20])],
  ['cntrl', [0, 0x1f, 0x7f, 0x7f]],
  ['digit', digit],
  ['graph', range('!', '~')],
  ['lower', lower],
  ['print', range(' ', '~')],
  ['punct', charSet([...range('!', '/'), ...range(':', '@'), ...range('[', '`'), ...range('{', '~')])],
  ['space', charSet([0x09, 0x0d, 0x20, 0x20])],
  ['upper', upper],
  ['word', word],
  ['xdigit', charSet([...digit, ...range('A', 'F'), ...range('a', 'f')])],
]);

/** The code points of a Unicode category or script (`L`, `Lu`, `Greek`), as Node's own tables say; null for an unknown name. */
export function unicodeSet(name: string): CharSet | null {
  if (!/^\w+$/.test(name)) return null;
  const test = [`\\p{${name}}`, `\\p{Script=${name}}`].flatMap((text) => expressionOf(text))[0];
  if (test === undefined) return null;
  const ranges: number[] = [];
  for (let code = 0; code <= lastCodePoint; code++) {
    if (!test.test(String.fromCodePoint(code))) continue;
    if (ranges.at(-1) === code - 1) ranges[ranges.length - 1] = code;
    else ranges.push(code, code);
  }
  return ranges;
}

function expressionOf(text: string): RegExp[] {
  try {
    return [new RegExp(`^${text}$`, 'u')];
  } catch {
    return [];
  }
}

let orbits: ReadonlyMap<number, readonly number[]> | null = null;

/** The set with the other cases of its letters. */
export function foldCase(set: CharSet): CharSet {
  orbits ??= caseOrbits();
  const more = [...set];
  for (const [code, others] of orbits) if (has(set, code)) for (const other of others) more.push(other, other);
  return charSet(more);
}

/** For each code point that has other cases, all of them (K, k and the Kelvin sign). Made once, where a pattern asks for it. */
function caseOrbits(): ReadonlyMap<number, readonly number[]> {
  const byFold = new Map<number, number[]>();
  // No letter beyond the supplementary multilingual plane has a case.
  for (let code = 0; code < 0x20000; code++) {
    const text = String.fromCodePoint(code);
    const key = single(single(text, text.toUpperCase()), single(text, text.toUpperCase()).toLowerCase());
    if (key === text && text.toUpperCase() === text && text.toLowerCase() === text) continue;
    const fold = key.codePointAt(0) as number;
    byFold.set(fold, [...(byFold.get(fold) ?? []), code]);
  }
  const all = new Map<number, readonly number[]>();
  for (const members of byFold.values()) if (members.length > 1) for (const member of members) all.set(member, members);
  return all;
}

/** What a character becomes, unless that is more than one. */
function single(from: string, to: string): string {
  return to.length === from.length ? to : from;
}
