import type { BootClock, EpochTime } from '../gadget/context.ts';
import { splitNanoseconds } from '../gadget/special/epoch.ts';
import { clockOffsets, type ClockOffsets } from '../sys/clock.ts';
import type { Sys } from '../sys/sys.ts';
import { turnTime } from '../sys/turn-time.ts';

/** How long a measurement holds: the wall clock is slewed by at most 500 ppm, so it is off by less than 1 ms after this. */
const holdsMs = 1000;

/**
 * Wall-clock time for the kernel's nanoseconds since boot. The difference between the two clocks is measured anew every
 * second while events come, since NTP and people move the wall clock; in a time namespace its offset is taken into account, for
 * programs always see the host's clock.
 */
export class WallClock implements BootClock {
  readonly #measure: () => ClockOffsets;
  readonly #now: () => number;
  #seconds = 0;
  #nanoseconds = 0;
  #measuredAt = Number.NEGATIVE_INFINITY;
  #exact = true;

  /** `measure` and `now` (milliseconds of any steady clock) are for tests. */
  constructor(sys: Sys, measure: () => ClockOffsets = () => clockOffsets(sys), now: () => number = turnTime) {
    this.#measure = measure;
    this.#now = now;
  }

  /** False where the offset of this process's time namespace cannot be read: timestamps may then be off by it. */
  get exact(): boolean {
    this.#refresh();
    return this.#exact;
  }

  toEpoch(high: number, low: number, into: EpochTime): void {
    if (high === 0 && low === 0) {
      // Kernels without bpf_ktime_get_boot_ns (before 5.8).
      const now = Date.now();
      into.seconds = Math.floor(now / 1000);
      into.nanoseconds = (now - into.seconds * 1000) * 1e6;
      return;
    }
    this.#refresh();
    splitNanoseconds(high, low, into);
    into.seconds += this.#seconds;
    into.nanoseconds += this.#nanoseconds;
    if (into.nanoseconds >= 1e9) {
      into.nanoseconds -= 1e9;
      into.seconds++;
    }
  }

  #refresh(): void {
    const now = this.#now();
    if (now - this.#measuredAt < holdsMs) return;
    this.#measuredAt = now;
    const { boottimeToEpoch, exact } = this.#measure();
    this.#exact = exact;
    // Towards minus infinity, so that the rest is never negative.
    const rest = ((boottimeToEpoch % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
    this.#nanoseconds = Number(rest);
    this.#seconds = Number((boottimeToEpoch - rest) / 1_000_000_000n);
  }
}
