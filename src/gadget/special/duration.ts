import { targetName } from '../source-builder.ts';
import type { SpecialType } from './registry.ts';

/** Nanoseconds as `15ns`, `1.50µs`, `2.25ms`, and from a second on as `1.5s`, `1m2s`, `2h0m0.25s`. */
export function durationText(nanoseconds: bigint): string {
  return nanoseconds < 1_000_000_000n ? shortText(Number(nanoseconds)) : longText(nanoseconds);
}

/** Below a second. */
function shortText(nanoseconds: number): string {
  if (nanoseconds < 1e3) return `${nanoseconds}ns`;
  return nanoseconds < 1e6 ? `${(nanoseconds / 1e3).toFixed(2)}µs` : `${(nanoseconds / 1e6).toFixed(2)}ms`;
}

function longText(nanoseconds: bigint): string {
  const seconds = nanoseconds / 1_000_000_000n;
  const fraction = String(nanoseconds % 1_000_000_000n)
    .padStart(9, '0')
    .replace(/0+$/, '');
  const hours = seconds / 3600n;
  const minutes = (seconds / 60n) % 60n;
  const last = `${seconds % 60n}${fraction === '' ? '' : `.${fraction}`}s`;
  if (hours > 0n) return `${hours}h${minutes}m${last}`;
  return minutes > 0n ? `${minutes}m${last}` : last;
}

/** `gadget_duration`: a length of time in nanoseconds. */
export const durationType: SpecialType = {
  name: 'duration',
  applies: (field) => field.tags.has('type:gadget_duration') && field.isInteger,
  extend(builder, field) {
    const leaf = targetName(field, 'formatters.duration.target');
    if (leaf === null) return;
    builder
      .addText(field, leaf, {
        text(record, at) {
          const value = field.number(record, at);
          return value >= 0 && value < 1e9 ? shortText(value) : durationText(field.wide(record, at));
        },
        repeats: false,
      })
      ?.suggestTemplate('duration');
  },
};
