import { UnsupportedError } from '../../error.ts';
import { toHex } from '../../bytes/text.ts';
import { BPF_MAP_TYPE } from '../uapi/map-type.gen.ts';
import { batchPieces } from './batch.ts';
import type { BpfMap } from './map.ts';
import { isArray } from './shape.ts';

/** Types whose batches go bucket by bucket, so that what happens to one key moves no other. */
const bucketed = new Set<number>([
  BPF_MAP_TYPE.BPF_MAP_TYPE_HASH,
  BPF_MAP_TYPE.BPF_MAP_TYPE_PERCPU_HASH,
  BPF_MAP_TYPE.BPF_MAP_TYPE_LRU_HASH,
  BPF_MAP_TYPE.BPF_MAP_TYPE_LRU_PERCPU_HASH,
]);

const pieceSize = 256;

/** Walks the entries of a map that may change meanwhile: none that stays is left out, none comes twice. */
export function* iterateEntries(map: BpfMap): Generator<[key: Uint8Array, value: Uint8Array]> {
  const pieces = bucketed.has(map.type) ? batchPieces(map, 'BPF_MAP_LOOKUP_BATCH', pieceSize) : null;
  if (pieces !== null) {
    for (const { keys, values } of pieces) {
      for (const [i, key] of keys.entries()) yield [key.slice(), (values[i] as Uint8Array).slice()];
    }
    return;
  }
  for (const key of keysInOrder(map)) {
    const value = map.lookup(key);
    if (value !== null) yield [key, value];
  }
}

/** The keys alone. */
export function* iterateKeys(map: BpfMap): Generator<Uint8Array> {
  if (bucketed.has(map.type)) for (const [key] of iterateEntries(map)) yield key;
  else yield* keysInOrder(map);
}

/**
 * Key by key. When the key that the walk stands on is deleted the kernel starts over with the first, so the keys already
 * given are remembered and passed over.
 */
function* keysInOrder(map: BpfMap): Generator<Uint8Array> {
  if (isArray(map.type)) {
    yield* arrayKeys(map.maxEntries);
    return;
  }
  const given = new Set<string>();
  let known = 0;
  for (let key = map.nextKey(null); key !== null; key = map.nextKey(key)) {
    const name = toHex(key);
    if (!given.has(name)) {
      given.add(name);
      known = 0;
      yield key.slice();
      // Other people's deletes could send the walk back to the start for ever; nobody's real map does.
    } else if (++known > 16 * given.size + 65536) throw tooFast(map);
  }
}

function tooFast(map: BpfMap): UnsupportedError {
  return new UnsupportedError({
    code: 'E_MAP_ITERATION',
    what: 'the map changes faster than it can be walked',
    where: { map: map.name },
    next: 'stop what changes it meanwhile',
  });
}

function* arrayKeys(count: number): Generator<Uint8Array> {
  for (let index = 0; index < count; index++) {
    const key = new Uint8Array(4);
    new DataView(key.buffer).setUint32(0, index, true);
    yield key;
  }
}
