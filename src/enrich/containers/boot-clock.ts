import { clockGettime, timeNamespaceOffsets } from '../../sys/clock.ts';
import type { Sys } from '../../sys/sys.ts';

/** The host's time since boot, which programs write down, for the price of performance.now(). */
export class BootClock {
  readonly #sys: Sys;
  #ahead = 0;

  constructor(sys: Sys) {
    this.#sys = sys;
    this.measure();
  }

  /** How far boot time is ahead of performance.now(): a machine that slept makes it more. */
  measure(): void {
    const boot = clockGettime(this.#sys, 'CLOCK_BOOTTIME') - (timeNamespaceOffsets()?.boottime ?? 0n);
    // Rather too little: that costs a look, and too much would miss something.
    this.#ahead = Number(boot) - performance.now() * 1e6 - 1e5;
  }

  /** Nanoseconds, never too many. */
  now(): number {
    return performance.now() * 1e6 + this.#ahead;
  }
}
