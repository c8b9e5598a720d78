/** Reads text: the bytes up to the first NUL or the array's end, as UTF-8; what is not UTF-8 becomes U+FFFD. */
export interface TextReader {
  readonly kind: 'text';
  read(view: DataView, offset: number): string;
}
/** Reads a copy of the bytes. */
export interface BytesReader {
  readonly kind: 'bytes';
  read(view: DataView, offset: number): Uint8Array;
}

// ignoreBOM: a byte order mark is data here, not a hint to drop.
const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

// Short texts come again and again (comm, device and container names): a direct-mapped cache gives the same string without
// making it anew. It is checked byte by byte, so a collision costs a little time and never a wrong answer.
const internLimit = 32;
const internSlots = 1024;
const interned: string[] = Array.from({ length: internSlots }, () => '');

/** Decodes at most `size` bytes of text that start at `at`. */
export function readText(view: DataView, at: number, size: number): string {
  let length = 0;
  let hash = 0;
  let high = 0;
  for (; length < size; length++) {
    const byte = view.getUint8(at + length);
    if (byte === 0) break;
    high |= byte;
    hash = (Math.imul(hash, 31) + byte) | 0;
  }
  if (length === 0) return '';
  if (high >= 0x80 || length > 256) return utf8.decode(new Uint8Array(view.buffer, view.byteOffset + at, length));
  if (length > internLimit) return asciiText(view, at, length);
  const slot = (hash ^ (hash >>> 15)) & (internSlots - 1);
  const known = interned[slot] as string;
  if (known.length === length && sameAscii(known, view, at)) return known;
  return (interned[slot] = asciiText(view, at, length));
}

export function textReader(size: number, at: number): TextReader {
  return { kind: 'text', read: (view, offset) => readText(view, offset + at, size) };
}

export function bytesReader(size: number, at: number): BytesReader {
  return { kind: 'bytes', read: (view, offset) => new Uint8Array(view.buffer, view.byteOffset + offset + at, size).slice() };
}

function sameAscii(text: string, view: DataView, at: number): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) !== view.getUint8(at + i)) return false;
  return true;
}

function asciiText(view: DataView, at: number, length: number): string {
  let text = '';
  let i = 0;
  for (; i + 8 <= length; i += 8) {
    const p = at + i;
    text += String.fromCharCode(
      view.getUint8(p),
      view.getUint8(p + 1),
      view.getUint8(p + 2),
      view.getUint8(p + 3),
      view.getUint8(p + 4),
      view.getUint8(p + 5),
      view.getUint8(p + 6),
      view.getUint8(p + 7),
    );
  }
  for (; i < length; i++) text += String.fromCharCode(view.getUint8(at + i));
  return text;
}
