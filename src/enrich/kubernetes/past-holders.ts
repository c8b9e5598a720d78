import type { NamedObject } from './objects.ts';

/** Events are held for two seconds at most; these may be late. */
const keepMs = 10_000;

interface Past {
  readonly holder: NamedObject;
  readonly until: number;
}

/** Who had an address until a moment ago: what is shown of an event that was held is who had it when the event came. */
export class PastHolders {
  /** By address, the oldest first; the address that changed last is the last one. */
  readonly #byIp = new Map<string, Past[]>();

  get size(): number {
    return this.#byIp.size;
  }

  /** `holder` had the address until now; `now` and all times as performance.now() gives them. */
  add(ip: string, holder: NamedObject, now: number): void {
    const before = this.#byIp.get(ip)?.filter(({ until }) => until >= now - keepMs) ?? [];
    this.#byIp.delete(ip);
    this.#byIp.set(ip, [...before, { holder, until: now }]);
    for (const [oldest, times] of this.#byIp) {
      if ((times.at(-1)?.until ?? 0) >= now - keepMs) break;
      this.#byIp.delete(oldest);
    }
  }

  /** Who had the address at a time, or was the next to have it where nobody had; null where that is who has it now. */
  at(ip: string, time: number): NamedObject | null {
    return this.#byIp.get(ip)?.find(({ until }) => until > time)?.holder ?? null;
  }
}
