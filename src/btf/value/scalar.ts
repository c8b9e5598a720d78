/** Reads a JavaScript number. */
export interface NumberReader {
  readonly kind: 'number';
  read(view: DataView, offset: number): number;
}
/** Reads a bigint: 64-bit and wider integers, and pointers. */
export interface BigintReader {
  readonly kind: 'bigint';
  read(view: DataView, offset: number): bigint;
}
export interface BoolReader {
  readonly kind: 'bool';
  read(view: DataView, offset: number): boolean;
}

// One closure per width and not one with a switch: each stays monomorphic, which is what makes the event path fast.

/** A reader of an integer of 1, 2 or 4 bytes, `at` bytes from the offset given. */
export function numberReader(size: number, signed: boolean, at: number): NumberReader | null {
  switch (size) {
    case 1:
      return { kind: 'number', read: signed ? (view, offset) => view.getInt8(offset + at) : (view, offset) => view.getUint8(offset + at) };
    case 2:
      return {
        kind: 'number',
        read: signed ? (view, offset) => view.getInt16(offset + at, true) : (view, offset) => view.getUint16(offset + at, true),
      };
    case 4:
      return {
        kind: 'number',
        read: signed ? (view, offset) => view.getInt32(offset + at, true) : (view, offset) => view.getUint32(offset + at, true),
      };
    default:
      return null;
  }
}

/** A reader of an integer of 8 or 16 bytes. */
export function bigintReader(size: number, signed: boolean, at: number): BigintReader | null {
  switch (size) {
    case 8:
      return {
        kind: 'bigint',
        read: signed ? (view, offset) => view.getBigInt64(offset + at, true) : (view, offset) => view.getBigUint64(offset + at, true),
      };
    case 16:
      return {
        kind: 'bigint',
        read: signed
          ? (view, offset) => (view.getBigInt64(offset + at + 8, true) << 64n) | view.getBigUint64(offset + at, true)
          : (view, offset) => (view.getBigUint64(offset + at + 8, true) << 64n) | view.getBigUint64(offset + at, true),
      };
    default:
      return null;
  }
}

/** A pointer: always bigint, also where it has 4 bytes. */
export function pointerReader(size: number, at: number): BigintReader {
  if (size === 4) return { kind: 'bigint', read: (view, offset) => BigInt(view.getUint32(offset + at, true)) };
  return { kind: 'bigint', read: (view, offset) => view.getBigUint64(offset + at, true) };
}

export function boolReader(at: number): BoolReader {
  return { kind: 'bool', read: (view, offset) => view.getUint8(offset + at) !== 0 };
}

/** IEEE 754 of 2, 4 or 8 bytes; longer ones have no JavaScript counterpart. */
export function floatReader(size: number, at: number): NumberReader | null {
  switch (size) {
    case 2:
      return { kind: 'number', read: (view, offset) => halfToNumber(view.getUint16(offset + at, true)) };
    case 4:
      return { kind: 'number', read: (view, offset) => view.getFloat32(offset + at, true) };
    case 8:
      return { kind: 'number', read: (view, offset) => view.getFloat64(offset + at, true) };
    default:
      return null;
  }
}

/** A bitfield of up to 32 bits that starts `bit` (0..7) bits into the byte at `at`, on a little-endian target. */
export function numberBitsReader(at: number, bit: number, width: number, signed: boolean): NumberReader {
  const bytes = (bit + width + 7) >>> 3;
  const up = 32 - width;
  if (bytes > 4) {
    const extend = signed ? (value: number): number => (value << up) >> up : (value: number): number => (value << up) >>> up;
    return {
      kind: 'number',
      read: (view, offset) => {
        const low = view.getUint32(offset + at, true) >>> bit;
        return extend(low | (view.getUint8(offset + at + 4) << (32 - bit)));
      },
    };
  }
  const load = (view: DataView, offset: number): number => {
    let value = 0;
    for (let i = 0; i < bytes; i++) value |= view.getUint8(offset + at + i) << (8 * i);
    return (value >>> bit) << up;
  };
  if (signed) return { kind: 'number', read: (view, offset) => load(view, offset) >> up };
  return { kind: 'number', read: (view, offset) => load(view, offset) >>> up };
}

/** A bitfield whose declared type has 8 or 16 bytes: a bigint whatever its width. */
export function bigintBitsReader(at: number, bit: number, width: number, signed: boolean): BigintReader {
  const bytes = (bit + width + 7) >>> 3;
  const shift = BigInt(bit);
  const load = (view: DataView, offset: number): bigint => {
    let value = 0n;
    for (let i = bytes - 1; i >= 0; i--) value = (value << 8n) | BigInt(view.getUint8(offset + at + i));
    return value >> shift;
  };
  if (signed) return { kind: 'bigint', read: (view, offset) => BigInt.asIntN(width, load(view, offset)) };
  return { kind: 'bigint', read: (view, offset) => BigInt.asUintN(width, load(view, offset)) };
}

/** A `_Bool` bitfield. */
export function boolBitsReader(at: number, bit: number, width: number): BoolReader {
  const bits = numberBitsReader(at, bit, width, false);
  return { kind: 'bool', read: (view, offset) => bits.read(view, offset) !== 0 };
}

function halfToNumber(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >>> 10) & 31;
  const fraction = half & 0x3ff;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}
