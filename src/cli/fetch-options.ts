import { didYouMean } from '../bytes/suggest.ts';
import type { FetchOptions } from '../gadget/batch-source.ts';
import { parseInterval } from '../gadget/interval.ts';
import { usage, type ParsedOptions } from './options.ts';

/** Longest time that a timer takes. */
const maxMs = 2_147_483_647;

/**
 * What `--map-fetch-interval` and `--map-fetch-count` say: one value for all data sources, or `SOURCE:VALUE` for each, several
 * with commas between.
 */
export function fetchOptions(given: ParsedOptions, sources: readonly { readonly name: string }[]): FetchOptions {
  const intervals = perSource(given, 'map-fetch-interval', sources, intervalMs);
  const counts = perSource(given, 'map-fetch-count', sources, count);
  return {
    intervalsMs: intervals.single,
    fetchCounts: counts.single,
    ...(intervals.all === null ? {} : { intervalMs: intervals.all }),
    ...(counts.all === null ? {} : { fetchCount: counts.all }),
  };
}

/** What `--wakeup` says: 0 for a wake-up by events, else the milliseconds between looks. */
export function wakeupMs(given: ParsedOptions): number {
  const text = given.text('wakeup') ?? 'event';
  if (text === 'event') return 0;
  const ms = intervalMs('wakeup', text);
  if (ms >= 1) return ms;
  throw usage(`--wakeup ${text} is too often`, 'it is at least 1ms, or the word event');
}

interface Values {
  readonly all: number | null;
  readonly single: ReadonlyMap<string, number>;
}

function perSource(
  given: ParsedOptions,
  option: string,
  sources: readonly { readonly name: string }[],
  parse: (option: string, text: string) => number,
): Values {
  const single = new Map<string, number>();
  let all: number | null = null;
  for (const part of given.text(option)?.split(',') ?? []) {
    const colon = part.indexOf(':');
    const value = parse(option, part.slice(colon + 1));
    const name = part.slice(0, Math.max(0, colon));
    if (colon < 0) all = value;
    else if (sources.some((source) => source.name === name)) single.set(name, value);
    else {
      const names = sources.map((source) => source.name);
      throw usage(
        `--${option}: the gadget has no data source ${name}`,
        [didYouMean(name, names), `it has ${names.join(', ')}`].filter(Boolean).join(' '),
      );
    }
  }
  return { all, single };
}

/** Seconds, or a number with a unit: `500ms`, `1m30s`. */
function intervalMs(option: string, text: string): number {
  const ms = /^\d+(?:\.\d+)?$/.test(text) ? Number(text) * 1000 : parseInterval(text);
  if (ms !== null && ms <= maxMs) return ms;
  throw usage(`--${option} ${text} is not a length of time`, 'it is a number of seconds, or one with a unit, as in 500ms');
}

function count(option: string, text: string): number {
  if (/^\d{1,15}$/.test(text) && Number(text) > 0) return Number(text);
  throw usage(`--${option} ${text} is not a whole number of at least 1`);
}
