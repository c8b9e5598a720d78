import { plainBytes } from '../bytes/plain.ts';
import { Btf } from './btf.ts';
import { encodeSections } from './encode.ts';
import { readMagic } from './header.ts';

/** The same BTF in the other byte order; all its types are of 32-bit words. Split BTF needs its base to be checked. */
export function swapBtf(bytes: Uint8Array, options: { readonly base?: Btf } = {}): Uint8Array {
  const btf = Btf.parse(bytes, options);
  const { header } = btf;
  const part = (at: number, length: number): Uint8Array => btf.bytes.slice(at, at + length);
  const types = part(header.typesAt, header.typesLength);
  swapWords(types, 0);
  const layout = part(header.layoutAt, header.layoutLength);
  // Of struct btf_layout only the u16 flags have a byte order.
  for (let at = 0; at + 4 <= layout.length; at += 4) layout.subarray(at + 2, at + 4).reverse();
  const strings = part(header.stringsAt, header.stringsLength);
  return encodeSections({ littleEndian: !btf.littleEndian, flags: header.flags, types, strings, layout });
}

/** The same .BTF.ext in the other byte order: but for its first four bytes it is all of 32-bit words. */
export function swapBtfExt(bytes: Uint8Array): Uint8Array {
  const swapped = plainBytes(bytes).slice();
  readMagic(swapped, { structure: '.BTF.ext' });
  swapped.subarray(0, 2).reverse();
  swapWords(swapped, 4);
  return swapped;
}

function swapWords(bytes: Uint8Array, start: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = start; at + 4 <= bytes.length; at += 4) view.setUint32(at, view.getUint32(at, true), false);
}
