import t from 'tap';
import { RawbpfError } from '../../../src/error.ts';
import { linkObject, openObject } from '../../../src/bpf/object/index.ts';
import { fixtureBytes, kernel } from './support.ts';

/** Opens and links bytes that may say anything: a result or a typed error, nothing else. */
function survives(bytes: Uint8Array): 'linked' | 'refused' {
  try {
    const spec = openObject(bytes);
    for (const result of linkObject(spec, kernel()))
      if (!result.ok && !(result.error instanceof RawbpfError)) throw new Error('untyped', { cause: result.error });
    return 'linked';
  } catch (error) {
    if (error instanceof RawbpfError) return 'refused';
    throw error;
  }
}

const names = ['maps', 'calls', 'externs', 'legacy', 'struct_ops', 'arena', 'jumptables'];

t.test('every prefix of an object', async (t) => {
  for (const name of ['struct_ops', 'arena', 'jumptables']) {
    const bytes = Uint8Array.from(fixtureBytes(`${name}.bpf.o`));
    let refused = 0;
    for (let length = 0; length < bytes.length; length += 29) if (survives(bytes.slice(0, length)) === 'refused') refused++;
    // The section headers are at the end.
    t.equal(refused, Math.ceil(bytes.length / 29), name);
  }
});

t.test('bytes changed all over', async (t) => {
  for (const name of names) {
    const bytes = Uint8Array.from(fixtureBytes(`${name}.bpf.o`));
    let linked = 0;
    // A prime, so that over the fixtures every field of every structure is hit.
    const step = bytes.length > 3000 ? 67 : 19;
    for (let at = 0; at < bytes.length; at += step) {
      const before = bytes[at] as number;
      for (const value of [before ^ 0xff, before ^ 1]) {
        bytes[at] = value;
        if (survives(bytes) === 'linked') linked++;
      }
      bytes[at] = before;
    }
    t.ok(linked > 0, `${name}: ${linked} variants still link`);
  }
});

t.test('names that mean something to JavaScript', async (t) => {
  const bytes = Uint8Array.from(fixtureBytes('maps.bpf.o'));
  // Same length, so that the string table stays: a map named __proto__.
  const from = new TextEncoder().encode('inner_a\0');
  for (let at = 0; at + from.length <= bytes.length; at++) {
    if (from.every((byte, i) => bytes[at + i] === byte)) bytes.set(new TextEncoder().encode('__proto\0'), at);
  }
  const spec = openObject(bytes);
  t.ok(spec.maps.some(({ name }) => name === '__proto'));
  t.equal(Object.getPrototypeOf({}), Object.prototype);
  t.notOk('keySize' in {});
});
