import type { EventRecord } from '../gadget/record.ts';
import { pack, type ByteWriter, type Packed } from './byte-writer.ts';

/** Most bytes that one byte of a string takes in JSON: `\u001f`. */
export const maxEscape = 6;

/** Per byte: 0 as it is, 1 escape, 2 the start of a UTF-8 sequence, or no UTF-8 at all. */
const classes = new Uint8Array(256);
classes.fill(1, 0, 0x20).fill(2, 0x80);
classes[0x22] = classes[0x5c] = classes[0x7f] = 1;

/** The letter after the backslash for the bytes that have one. */
const short = new Uint8Array(256);
for (const [byte, letter] of [
  [0x08, 'b'],
  [0x09, 't'],
  [0x0a, 'n'],
  [0x0c, 'f'],
  [0x0d, 'r'],
  [0x22, '"'],
  [0x5c, '\\'],
] as const) {
  short[byte] = letter.charCodeAt(0);
}

/**
 * Writes bytes as a JSON string, without the quotes: text up to `end`; control characters (C0, DEL and C1) escaped, what is
 * not UTF-8 as U+FFFD, one for each part that WHATWG's decoder would replace. The caller has ensured `maxEscape` bytes for each.
 * With `nul` given, NULs become that byte; else they end the text.
 * @returns where the text ended
 */
export function putJsonBytes(out: ByteWriter, source: Uint8Array, start: number, end: number, nul = 0): number {
  const { bytes } = out;
  let at = out.length;
  let i = start;
  while (i < end) {
    const byte = source[i] as number;
    const kind = classes[byte] as number;
    if (kind === 0) {
      bytes[at++] = byte;
      i++;
      continue;
    }
    if (byte === 0) {
      if (nul === 0) break;
      bytes[at++] = nul;
      i++;
      continue;
    }
    if (kind === 1) {
      at = putEscape(bytes, at, byte);
      i++;
      continue;
    }
    const length = sequenceLength(source, i, end);
    if (length < 0) {
      bytes[at++] = 0xef;
      bytes[at++] = 0xbf;
      bytes[at++] = 0xbd;
      i -= length;
    } else if (byte === 0xc2 && (source[i + 1] as number) < 0xa0) {
      // C1 control characters: a terminal takes U+009B for ESC [.
      at = putEscape(bytes, at, source[i + 1] as number);
      i += 2;
    } else {
      for (let k = 0; k < length; k++) bytes[at++] = source[i + k] as number;
      i += length;
    }
  }
  out.length = at;
  return i;
}

/** As {@link putJsonBytes} for text up to a NUL: four bytes at a time as long as none of them needs a second look. */
export function putJsonChars(out: ByteWriter, view: DataView, source: Uint8Array, start: number, end: number): void {
  let i = start;
  for (; i + 4 <= end; i += 4) {
    const word = view.getInt32(i, true);
    const quote = word ^ 0x22222222;
    const backslash = word ^ 0x5c5c5c5c;
    // Sets the top bit of every byte that is below 0x20, a quote, a backslash, or above 0x7e (and of a few that are not: that costs time only).
    const special = (word - 0x20202020) | (quote - 0x01010101) | (backslash - 0x01010101) | (word + 0x01010101) | word;
    if ((special & 0x80808080) !== 0) break;
    out.word(word);
  }
  putJsonBytes(out, source, i, end);
}

/** Kept texts of one {@link fixedCharsPut}. */
const fixedSlots = 256;

/** Writes the 16 bytes of a command's name as JSON with quotes; names that were there before are copied whole. */
export function fixedCharsPut(offset: number): (out: ByteWriter, record: EventRecord, at: number) => void {
  const keys = new Int32Array(fixedSlots * 4);
  const empty = pack(Uint8Array.of(0x22, 0x22));
  const kept: Packed[] = Array.from({ length: fixedSlots }, () => empty);
  return (out, { view, bytes }, at) => {
    const place = at + offset;
    const a = view.getInt32(place, true);
    const b = view.getInt32(place + 4, true);
    const c = view.getInt32(place + 8, true);
    const d = view.getInt32(place + 12, true);
    const slot = Math.imul(a ^ Math.imul(b, 0x85ebca6b) ^ Math.imul(c, 0xc2b2ae35) ^ Math.imul(d, 0x27d4eb2f), 0x9e3779b1) >>> 24;
    const key = slot << 2;
    if (keys[key] === a && keys[key + 1] === b && keys[key + 2] === c && keys[key + 3] === d) {
      out.packed(kept[slot] as Packed);
      return;
    }
    const start = out.length;
    out.byte(0x22);
    putJsonBytes(out, bytes, place, place + 16);
    out.byte(0x22);
    keys[key] = a;
    keys[key + 1] = b;
    keys[key + 2] = c;
    keys[key + 3] = d;
    kept[slot] = pack(out.bytes.subarray(start, out.length));
  };
}

/** Length of the UTF-8 sequence at `at`; negative, the number of bytes that one U+FFFD stands for, where it is none. */
export function sequenceLength(source: Uint8Array, at: number, end: number): number {
  const lead = source[at] as number;
  const second = at + 1 < end ? (source[at + 1] as number) : 0;
  if (lead < 0xc2 || lead > 0xf4) return -1;
  if (lead < 0xe0) return (second & 0xc0) === 0x80 ? 2 : -1;
  // Overlong forms, surrogates and values past U+10FFFF are already wrong in their second byte (Unicode, table 3-7).
  const least = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  const most = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  if (second < least || second > most) return -1;
  const third = at + 2 < end ? (source[at + 2] as number) : 0;
  if ((third & 0xc0) !== 0x80) return -2;
  if (lead < 0xf0) return 3;
  const fourth = at + 3 < end ? (source[at + 3] as number) : 0;
  return (fourth & 0xc0) === 0x80 ? 4 : -3;
}

/** Writes a JavaScript string as JSON with quotes; makes room itself. */
export function putJsonText(out: ByteWriter, text: string): void {
  const { length } = text;
  out.ensure(length + 2);
  const { bytes } = out;
  let at = out.length;
  bytes[at++] = 0x22;
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i);
    if (code >= 0x7f || classes[code] !== 0) {
      // Nothing counts before `out.length` is set: the whole text goes the other way.
      const encoded = jsonBytes(text);
      out.ensure(encoded.length);
      out.literal(encoded);
      return;
    }
    bytes[at++] = code;
  }
  bytes[at++] = 0x22;
  out.length = at;
}

/** A JavaScript string as JSON in UTF-8, with quotes and the same escapes as {@link putJsonBytes}. */
export function jsonBytes(text: string): Buffer {
  return Buffer.from(jsonText(text), 'utf8');
}

/** A JavaScript string as JSON. */
export function jsonText(text: string): string {
  return JSON.stringify(text).replace(/[\u007f-\u009f]/g, (character) => `\\u00${character.charCodeAt(0).toString(16)}`);
}

function putEscape(bytes: Uint8Array, at: number, byte: number): number {
  bytes[at++] = 0x5c;
  const letter = short[byte] as number;
  if (letter !== 0) {
    bytes[at++] = letter;
    return at;
  }
  bytes[at++] = 0x75;
  bytes[at++] = 0x30;
  bytes[at++] = 0x30;
  bytes[at++] = hexDigits.charCodeAt(byte >>> 4);
  bytes[at++] = hexDigits.charCodeAt(byte & 15);
  return at;
}

const hexDigits = '0123456789abcdef';
