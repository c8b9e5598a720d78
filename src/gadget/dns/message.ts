/** What a DNS message says (RFC 1035, section 4). Fields behind the end of a message that is cut off are empty. */
export interface DnsMessage {
  readonly id: number;
  readonly isResponse: boolean;
  readonly truncated: boolean;
  readonly recursionDesired: boolean;
  readonly recursionAvailable: boolean;
  readonly rcode: number;
  /** Of the first question: ends with a dot. Empty where the name cannot be read. */
  readonly name: string;
  readonly qtype: number;
  /** Answers as the header counts them. */
  readonly answers: number;
  /** Of answers of types A and AAAA that could be read. */
  readonly addresses: readonly string[];
  /** Whether it ends early, or its names lead nowhere. */
  readonly malformed: boolean;
}

const headerSize = 12;
/** Most bytes of a name (RFC 1035, section 2.3.4); also ends chains of pointers that lead in circles. */
const maxName = 255;
/** More addresses than any message of 64 KiB needs are only there to cost time. */
const maxAddresses = 256;
const typeA = 1;
const typeAaaa = 28;

/** How addresses are written. */
export interface AddressText {
  ip4(bytes: Uint8Array, at: number): string;
  ip6(bytes: Uint8Array, at: number): string;
}

/** Reads the `length` bytes at `start` as a DNS message; null where they are too few for a header. Never throws. */
export function parseDns(bytes: Uint8Array, start: number, length: number, write: AddressText): DnsMessage | null {
  if (length < headerSize) return null;
  const end = start + length;
  const u16 = (at: number): number => ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
  const flags = u16(start + 2);
  const questions = u16(start + 4);
  const answers = u16(start + 6);
  let at = start + headerSize;
  let name = '';
  let qtype = 0;
  let malformed = false;
  for (let i = 0; i < questions && !malformed; i++) {
    const next = skipName(bytes, at, end);
    if (next < 0 || next + 4 > end) {
      malformed = true;
      break;
    }
    if (i === 0) {
      const read = readName(bytes, at, start, end);
      malformed = read === null;
      name = read ?? '';
      qtype = u16(next);
    }
    at = next + 4;
  }
  const addresses: string[] = [];
  for (let i = 0; i < answers && !malformed && addresses.length < maxAddresses; i++) {
    const next = skipName(bytes, at, end);
    if (next < 0 || next + 10 > end) {
      malformed = true;
      break;
    }
    const type = u16(next);
    const size = u16(next + 8);
    at = next + 10;
    if (at + size > end) {
      malformed = true;
      break;
    }
    if (type === typeA && size === 4) addresses.push(write.ip4(bytes, at));
    else if (type === typeAaaa && size === 16) addresses.push(write.ip6(bytes, at));
    at += size;
  }
  return {
    id: u16(start),
    isResponse: (flags & 0x8000) !== 0,
    truncated: (flags & 0x0200) !== 0,
    recursionDesired: (flags & 0x0100) !== 0,
    recursionAvailable: (flags & 0x0080) !== 0,
    rcode: flags & 15,
    name,
    qtype,
    answers,
    addresses,
    malformed,
  };
}

/** Where what follows a name begins; -1 where the name does not end. */
function skipName(bytes: Uint8Array, from: number, end: number): number {
  let at = from;
  while (at < end) {
    const length = bytes[at] as number;
    if (length === 0) return at + 1;
    if ((length & 0xc0) === 0xc0) return at + 2 <= end ? at + 2 : -1;
    if ((length & 0xc0) !== 0) return -1;
    at += 1 + length;
  }
  return -1;
}

/** A name as text, pointers followed; null where it is cut off, too long, or its pointers do not lead backwards. */
function readName(bytes: Uint8Array, from: number, start: number, end: number): string | null {
  let text = '';
  let size = 0;
  let at = from;
  // A pointer is to a prior place (RFC 1035, section 4.1.4): so none can lead in circles.
  let before = from;
  while (at < end) {
    const length = bytes[at] as number;
    if (length === 0) return text === '' ? '.' : text;
    if ((length & 0xc0) === 0xc0) {
      if (at + 2 > end) return null;
      const to = start + (((length & 0x3f) << 8) | (bytes[at + 1] as number));
      if (to >= before) return null;
      before = to;
      at = to;
      continue;
    }
    size += 1 + length;
    if ((length & 0xc0) !== 0 || at + 1 + length > end || size > maxName) return null;
    text += `${labelText(bytes, at + 1, length)}.`;
    at += 1 + length;
  }
  return null;
}

/** A label as master files write it (RFC 1035, section 5.1): dots and backslashes escaped, other bytes by their number. */
function labelText(bytes: Uint8Array, at: number, length: number): string {
  let text = '';
  for (let i = at; i < at + length; i++) {
    const byte = bytes[i] as number;
    if (byte === 0x2e || byte === 0x5c) text += `\\${String.fromCharCode(byte)}`;
    else if (byte > 0x20 && byte < 0x7f) text += String.fromCharCode(byte);
    else text += `\\${String(byte).padStart(3, '0')}`;
  }
  return text;
}
