import { UsageError } from '../error.ts';

const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
const encoder = new TextEncoder();

/** Decodes bytes up to the first NUL (or the end) as UTF-8; invalid sequences become U+FFFD. */
export function cString(bytes: Uint8Array, start = 0): string {
  const nul = bytes.indexOf(0, start);
  const end = nul < 0 ? bytes.length : nul;
  // TextDecoder costs more than the loop for the short ASCII names that files are full of.
  if (end - start < 48) {
    let text = '';
    for (let i = start; i < end; i++) {
      const byte = bytes[i] as number;
      if (byte >= 0x80) return utf8.decode(bytes.subarray(start, end));
      text += String.fromCharCode(byte);
    }
    return text;
  }
  return utf8.decode(bytes.subarray(start, end));
}

/** Encodes text as UTF-8 followed by a NUL. */
export function toCString(text: string): Uint8Array {
  return encoder.encode(`${text}\0`);
}

/** Encodes text as UTF-8 without a terminator. */
export function toUtf8(text: string): Uint8Array {
  return encoder.encode(text);
}

/** Lower-case hex without separators. */
export function toHex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
  return text;
}

/** Parses pairs of hex digits (white space is ignored); throws {@link UsageError} `E_HEX` for anything else. */
export function fromHex(text: string): Uint8Array {
  const digits = text.replace(/\s+/g, '');
  if (digits.length % 2 !== 0 || !/^[0-9a-f]*$/i.test(digits)) {
    throw new UsageError({ code: 'E_HEX', what: 'not pairs of hex digits', where: { text: digits.slice(0, 80) } });
  }
  const bytes = new Uint8Array(digits.length >> 1);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(digits.slice(i * 2, i * 2 + 2), 16);
  return bytes;
}
