import { targetName } from '../source-builder.ts';
import { namesByNumber } from './errno.ts';
import type { SpecialType } from './registry.ts';
import { SIGNALS } from './signals.gen.ts';

const names: ReadonlyMap<number, string> = namesByNumber(SIGNALS);

/** `SIGKILL`; `signal#N` for 0, real-time signals and everything else without a name. */
export function signalText(signal: number): string {
  return names.get(signal) ?? `signal#${signal}`;
}

/** `gadget_signal`: the name of a signal. */
export const signalType: SpecialType = {
  name: 'signal',
  applies: (field) => field.tags.has('type:gadget_signal') && field.isInteger,
  extend(builder, field) {
    const leaf = targetName(field, 'formatters.signal.target');
    if (leaf === null) return;
    builder.addNumberText(field, leaf, signalText);
  },
};
