import type { Test } from 'tap';
import { FormatError, UnsupportedError } from '../src/error.ts';

/** Small, seeded, good enough to spread mutations (mulberry32). */
export function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** Milliseconds of processor time used so far: a busy machine makes tests slow, not wrong. */
export function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** What a parser made of damaged bytes over a whole series. */
export interface Survey {
  runs: number;
  values: number;
  errors: number;
  /** Everything that was neither a value nor one of our errors, or took too long. */
  bad: string[];
}

/** Runs `read` on every damaged copy: each must give a value or a FormatError (UnsupportedError), in bounded time. */
export function survey(copies: Iterable<readonly [label: string, bytes: Uint8Array]>, read: (bytes: Uint8Array) => void): Survey {
  const result: Survey = { runs: 0, values: 0, errors: 0, bad: [] };
  // Stacks cost far more than what is tested here.
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  for (const [label, bytes] of copies) {
    result.runs++;
    const start = cpuMs();
    try {
      read(bytes);
      result.values++;
    } catch (error) {
      result.errors++;
      const ours = error instanceof FormatError || error instanceof UnsupportedError;
      if (!ours || !error.code.startsWith('E_')) result.bad.push(`${label}: ${String(error)}`);
    }
    const took = cpuMs() - start;
    // Far above what any takes (a millisecond), far below what a hang or a quadratic walk would.
    if (took > 2000) result.bad.push(`${label}: ${Math.round(took)} ms`);
  }
  Error.stackTraceLimit = stackTraceLimit;
  return result;
}

/** Asserts that nothing in a survey was bad, that both outcomes occurred, and that no prototype was polluted. */
export function checkSurvey(test: Test, name: string, result: Survey): void {
  test.same(result.bad.slice(0, 5), [], `${name}: ${result.runs} damaged inputs gave values or typed errors`);
  test.ok(result.errors > 0, `${name}: some were refused (${result.errors} of ${result.runs})`);
  test.same(Object.keys(Object.prototype), [], `${name}: Object.prototype is clean`);
}

/** Every prefix, with a step where the file is long. */
export function* prefixes(bytes: Uint8Array, step = 1): Generator<[string, Uint8Array]> {
  for (let length = 0; length < bytes.length; length += step) yield [`first ${length} bytes`, bytes.subarray(0, length)];
}

/** Every byte set to each of a few values that hurt: none, all, sign, one off. */
export function* flips(bytes: Uint8Array, start = 0, end: number = bytes.length, step = 1): Generator<[string, Uint8Array]> {
  const copy = Uint8Array.from(bytes);
  for (let at = start; at < end; at += step) {
    const original = copy[at] as number;
    for (const value of new Set([0, 0xff, 0x80, original ^ 1, (original + 1) & 0xff])) {
      if (value === original) continue;
      copy[at] = value;
      yield [`byte ${at} = ${value}`, copy];
    }
    copy[at] = original;
  }
}

/** Random damage: a few bytes or 32-bit words replaced at once, sometimes a block moved. */
export function* mutations(bytes: Uint8Array, count: number, seed: number): Generator<[string, Uint8Array]> {
  const random = randomFrom(seed);
  const words = [0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffff0, 0x00ffffff, 0x10000];
  for (let i = 0; i < count; i++) {
    const copy = Uint8Array.from(bytes);
    const view = new DataView(copy.buffer);
    for (let k = random(6) + 1; k > 0; k--) {
      if (random(3) === 0) copy[random(copy.length)] = random(256);
      else if (random(8) === 0) copy.copyWithin(random(copy.length), random(copy.length), random(copy.length));
      else view.setUint32(random((copy.length >> 2) - 1) * 4, words[random(words.length)] as number, random(2) === 0);
    }
    yield [`mutation ${i} of seed ${seed}`, copy];
  }
}
