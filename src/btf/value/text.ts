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

/** Kept texts of one {@link fixedTextReader}; a power of two. */
const fixedSlots = 256;

/**
 * A reader of text in an array of `size` bytes, by itself as fast as comparing the bytes: texts that were there before are
 * found by the words of the array, whatever stands behind their NUL.
 */
export function fixedTextReader(size: number): (view: DataView, at: number) => string {
  if (size === 16) return commReader();
  if (size % 4 !== 0 || size > 32) return (view, at) => readText(view, at, size);
  const words = size >> 2;
  const keys = new Int32Array(fixedSlots * words);
  // All zero words are the empty text.
  const texts = Array.from({ length: fixedSlots }, () => '');
  return (view, at) => {
    let hash = 0;
    for (let i = 0; i < words; i++) hash = Math.imul(hash ^ view.getInt32(at + i * 4, true), 0x9e3779b1) ^ (hash >>> 15);
    const slot = (hash >>> 24) ^ ((hash >>> 8) & (fixedSlots - 1));
    const key = slot * words;
    let same = true;
    for (let i = 0; i < words; i++) same &&= keys[key + i] === view.getInt32(at + i * 4, true);
    if (same) return texts[slot] as string;
    for (let i = 0; i < words; i++) keys[key + i] = view.getInt32(at + i * 4, true);
    return (texts[slot] = readText(view, at, size));
  };
}

/** The same for the 16 bytes of a command's name, which most events have. */
function commReader(): (view: DataView, at: number) => string {
  const keys = new Int32Array(fixedSlots * 4);
  const texts = Array.from({ length: fixedSlots }, () => '');
  return (view, at) => {
    const a = view.getInt32(at, true);
    const b = view.getInt32(at + 4, true);
    const c = view.getInt32(at + 8, true);
    const d = view.getInt32(at + 12, true);
    const slot = Math.imul(a ^ Math.imul(b, 0x85ebca6b) ^ Math.imul(c, 0xc2b2ae35) ^ Math.imul(d, 0x27d4eb2f), 0x9e3779b1) >>> 24;
    const key = slot << 2;
    if (keys[key] === a && keys[key + 1] === b && keys[key + 2] === c && keys[key + 3] === d) return texts[slot] as string;
    keys[key] = a;
    keys[key + 1] = b;
    keys[key + 2] = c;
    keys[key + 3] = d;
    return (texts[slot] = readText(view, at, 16));
  };
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
