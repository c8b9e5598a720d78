import { BTF_MAGIC, btfHeaderLayoutSize, btfHeaderSize } from './header.ts';

/** The sections of a BTF blob, each already in the byte order of the blob. */
export interface BtfSections {
  readonly littleEndian: boolean;
  readonly flags: number;
  readonly types: Uint8Array;
  readonly strings: Uint8Array;
  /** Empty for none: then the header is the short one that every kernel knows. */
  readonly layout: Uint8Array;
}

/** Puts header, types, layout and strings together. */
export function encodeSections(sections: BtfSections): Uint8Array {
  const { littleEndian, types, strings, layout } = sections;
  const headerLength = layout.length === 0 ? btfHeaderSize : btfHeaderLayoutSize;
  const bytes = new Uint8Array(headerLength + types.length + layout.length + strings.length);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, BTF_MAGIC, littleEndian);
  view.setUint8(2, 1);
  view.setUint8(3, sections.flags);
  const words = [headerLength, 0, types.length, types.length + layout.length, strings.length];
  if (layout.length > 0) words.push(types.length, layout.length);
  words.forEach((word, i) => view.setUint32(4 + i * 4, word, littleEndian));
  bytes.set(types, headerLength);
  bytes.set(layout, headerLength + types.length);
  bytes.set(strings, headerLength + types.length + layout.length);
  return bytes;
}

/** The info word of a type: kind, number of elements and kind_flag. */
export function infoWord(kind: number, vlen: number, flag = false): number {
  return ((flag ? 0x80000000 : 0) | (kind << 24) | vlen) >>> 0;
}

/** The word after an INT. */
export function intWord(encoding: number, bitOffset: number, bits: number): number {
  return ((encoding << 24) | (bitOffset << 16) | bits) >>> 0;
}
