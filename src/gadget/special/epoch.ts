import type { EpochTime } from '../context.ts';

/** Splits `high * 2^32 + low` nanoseconds into seconds and the rest, exactly and without a bigint. */
export function splitNanoseconds(high: number, low: number, into: EpochTime): void {
  if (high < 0x200000) {
    // Below 2^53: a double holds it.
    const all = high * 4294967296 + low;
    into.seconds = Math.floor(all / 1e9);
    into.nanoseconds = all - into.seconds * 1e9;
    return;
  }
  // Long division by 10^9 with digits of 32, 16 and 16 bits: every intermediate value stays below 2^46.
  const q0 = Math.floor(high / 1e9);
  let rest = (high - q0 * 1e9) * 65536 + (low >>> 16);
  const q1 = Math.floor(rest / 1e9);
  rest = (rest - q1 * 1e9) * 65536 + (low & 0xffff);
  const q2 = Math.floor(rest / 1e9);
  into.seconds = q0 * 4294967296 + q1 * 65536 + q2;
  into.nanoseconds = rest - q2 * 1e9;
}

/** Nanoseconds since the epoch. */
export function epochNanoseconds(time: EpochTime): bigint {
  return BigInt(time.seconds) * 1_000_000_000n + BigInt(time.nanoseconds);
}

let cachedSecond = Number.NaN;
let cachedStart = '';
let cachedZone = '';

/** RFC 3339 in the local time zone with nine digits: `2006-01-02T15:04:05.000000000+01:00`. */
export function formatEpoch(time: EpochTime): string {
  return `${epochStart(time.seconds)}${String(time.nanoseconds).padStart(9, '0')}${epochZone(time.seconds)}`;
}

/** What comes before the nine digits: `2006-01-02T15:04:05.`; made once a second. */
export function epochStart(seconds: number): string {
  if (seconds !== cachedSecond) formatSecond(seconds);
  return cachedStart;
}

/** What comes after them: `+01:00`. */
export function epochZone(seconds: number): string {
  if (seconds !== cachedSecond) formatSecond(seconds);
  return cachedZone;
}

function formatSecond(seconds: number): void {
  const date = new Date(seconds * 1000);
  cachedSecond = seconds;
  cachedStart =
    `${String(date.getFullYear()).padStart(4, '0')}-${two(date.getMonth() + 1)}-${two(date.getDate())}` +
    `T${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.`;
  const minutes = -date.getTimezoneOffset();
  const ahead = Math.abs(minutes);
  cachedZone = minutes === 0 ? 'Z' : `${minutes < 0 ? '-' : '+'}${two(Math.floor(ahead / 60))}:${two(ahead % 60)}`;
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}
