import type { Btf } from './btf.ts';

/** All types of a BTF and of its bases as 32-bit words in this machine's order: every field of every kind is such a word. */
export interface BtfWords {
  readonly words: Uint32Array;
  /** Index of the first word of each type, and one past the last type. Void is the words before the first type. */
  readonly starts: Uint32Array;
}

/** Copies a chain of BTFs, base first, with `before` words of zeros in front of it. */
export function readWords(btf: Btf, before = 0): BtfWords {
  const chain: Btf[] = [];
  for (let owner: Btf | null = btf; owner !== null; owner = owner.base) chain.unshift(owner);
  const words = new Uint32Array(before + chain.reduce((sum, owner) => sum + (owner.header.typesLength >>> 2), 0));
  const starts = new Uint32Array(btf.typeCount + 1);
  let at = before;
  for (const owner of chain) {
    copyWords(owner, words, at);
    const { typesAt, typesLength } = owner.header;
    for (let id = owner.firstId; id < owner.typeCount; id++) starts[id] = at + ((owner.offsetOf(id) - typesAt) >>> 2);
    at += typesLength >>> 2;
  }
  starts[btf.typeCount] = at;
  return { words, starts };
}

function copyWords(btf: Btf, into: Uint32Array, at: number): void {
  const { typesAt, typesLength } = btf.header;
  const start = btf.bytes.byteOffset + typesAt;
  if (btf.littleEndian && start % 4 === 0 && machineIsLittleEndian) {
    into.set(new Uint32Array(btf.bytes.buffer, start, typesLength >>> 2), at);
    return;
  }
  const { view, littleEndian } = btf;
  for (let i = 0; i < typesLength >>> 2; i++) into[at + i] = view.getUint32(typesAt + i * 4, littleEndian);
}

const machineIsLittleEndian = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1;
