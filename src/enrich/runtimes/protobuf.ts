import { Cursor } from '../../bytes/cursor.ts';

/** A field's value as it stands on the wire: a varint or fixed number, or bytes. */
type WireValue = bigint | Uint8Array;

const decoder = new TextDecoder();
const encoder = new TextEncoder();
const none: readonly WireValue[] = [];

/**
 * A protocol buffer's message, read by field numbers without a schema
 * (https://protobuf.dev/programming-guides/encoding). What a field is not, it is given as empty: a number as text is ''.
 * Throws a FormatError for bytes that are no message.
 */
export class ProtoMessage {
  readonly #fields = new Map<number, WireValue[]>();

  constructor(bytes: Uint8Array) {
    const cursor = new Cursor(bytes, { structure: 'protocol buffer', code: 'E_PROTOBUF' });
    while (cursor.remaining > 0) {
      const key = varint(cursor);
      const field = Number(key >> 3n);
      const value = wireValue(cursor, Number(key & 7n));
      const values = this.#fields.get(field);
      if (values === undefined) this.#fields.set(field, [value]);
      else values.push(value);
    }
  }

  /** The last one wins, as the format asks for. */
  bytes(field: number): Uint8Array {
    const value = this.#values(field).at(-1);
    return value instanceof Uint8Array ? value : new Uint8Array(0);
  }

  text(field: number): string {
    return decoder.decode(this.bytes(field));
  }

  texts(field: number): readonly string[] {
    return this.#values(field).flatMap((value) => (value instanceof Uint8Array ? [decoder.decode(value)] : []));
  }

  bigint(field: number): bigint {
    const value = this.#values(field).at(-1);
    return typeof value === 'bigint' ? value : 0n;
  }

  /** 0 also for what is past 2^53. */
  number(field: number): number {
    const value = Number(this.bigint(field));
    return Number.isSafeInteger(value) ? value : 0;
  }

  /** An empty message where the field is absent. */
  message(field: number): ProtoMessage {
    return new ProtoMessage(this.bytes(field));
  }

  messages(field: number): readonly ProtoMessage[] {
    return this.#values(field).flatMap((value) => (value instanceof Uint8Array ? [new ProtoMessage(value)] : []));
  }

  /** A `map<string, string>`: messages with the key in field 1 and the value in field 2. */
  map(field: number): ReadonlyMap<string, string> {
    return new Map(this.messages(field).map((entry) => [entry.text(1), entry.text(2)]));
  }

  has(field: number): boolean {
    return this.#fields.has(field);
  }

  #values(field: number): readonly WireValue[] {
    return this.#fields.get(field) ?? none;
  }
}

function wireValue(cursor: Cursor, type: number): WireValue {
  switch (type) {
    case 0:
      return varint(cursor);
    case 1:
      return cursor.u64();
    case 2: {
      const length = varint(cursor);
      return length > BigInt(cursor.remaining)
        ? cursor.fail(`${length} bytes wanted, ${cursor.remaining} are left`)
        : cursor.take(Number(length));
    }
    case 5:
      return BigInt(cursor.u32());
    default:
      return cursor.fail(`wire type ${type} is none that is in use`);
  }
}

function varint(cursor: Cursor): bigint {
  let value = 0n;
  for (let shift = 0n; shift < 70n; shift += 7n) {
    const byte = cursor.u8();
    value |= BigInt(byte & 127) << shift;
    if (byte < 128) return BigInt.asUintN(64, value);
  }
  return cursor.fail('a number has more than 10 bytes');
}

/** Writes a message: fields in the order given. */
export class ProtoWriter {
  readonly #parts: Uint8Array[] = [];

  text(field: number, value: string): this {
    return this.bytes(field, encoder.encode(value));
  }

  bytes(field: number, value: Uint8Array): this {
    this.#parts.push(varintBytes(field * 8 + 2), varintBytes(value.length), value);
    return this;
  }

  number(field: number, value: number): this {
    this.#parts.push(varintBytes(field * 8), varintBytes(value));
    return this;
  }

  finish(): Uint8Array {
    const whole = new Uint8Array(this.#parts.reduce((length, part) => length + part.length, 0));
    let offset = 0;
    for (const part of this.#parts) {
      whole.set(part, offset);
      offset += part.length;
    }
    return whole;
  }
}

function varintBytes(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return Uint8Array.of(...bytes, rest);
}
