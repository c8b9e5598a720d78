import { UnsupportedError } from '../../error.ts';
import { toHex } from '../../bytes/text.ts';
import type { BpfMap } from './map.ts';
import { isArray } from './shape.ts';

/**
 * Walks the keys of a map that may change meanwhile. When the key that the walk stands on is deleted the kernel starts over
 * with the first, so the keys already given are remembered and skipped: none comes twice, none that stays is left out.
 */
export function* iterateKeys(map: BpfMap): Generator<Uint8Array> {
  if (isArray(map.type)) {
    yield* arrayKeys(map.maxEntries);
    return;
  }
  const given = new Set<string>();
  // Other people's inserts and deletes could keep a walk going for ever; nobody's real map does.
  let steps = 16 * map.maxEntries + 65536;
  for (let key = map.nextKey(null); key !== null; key = map.nextKey(key)) {
    const name = toHex(key);
    if (!given.has(name)) {
      given.add(name);
      yield key.slice();
    }
    if (--steps < 0) {
      throw new UnsupportedError({
        code: 'E_MAP_ITERATION',
        what: 'the map changes faster than it can be walked',
        where: { map: map.name },
        next: 'read it in batches, or stop what changes it',
      });
    }
  }
}

function* arrayKeys(count: number): Generator<Uint8Array> {
  for (let index = 0; index < count; index++) {
    const key = new Uint8Array(4);
    new DataView(key.buffer).setUint32(0, index, true);
    yield key;
  }
}
