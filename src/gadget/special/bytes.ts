import { targetName } from '../source-builder.ts';
import type { SpecialType } from './registry.ts';

const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB'];

/** A number of bytes in powers of 1000: `0 B`, `82 kB`, `1.2 MB`; one digit after the point below 10. */
export function bytesText(bytes: number): string {
  if (bytes < 10) return `${bytes} B`;
  let exponent = 0;
  let scale = 1;
  while (exponent < units.length - 1 && bytes >= scale * 1000) {
    exponent++;
    scale *= 1000;
  }
  const value = Math.floor((bytes / scale) * 10 + 0.5) / 10;
  return `${value < 10 ? value.toFixed(1) : value.toFixed(0)} ${units[exponent] ?? ''}`;
}

/** `gadget_bytes`: an amount of data. */
export const bytesType: SpecialType = {
  name: 'bytes',
  applies: (field) => field.tags.has('type:gadget_bytes') && field.isInteger,
  extend(builder, field) {
    const leaf = targetName(field, 'formatters.bytes.target');
    if (leaf === null) return;
    builder.addText(field, leaf, { text: (record, at) => bytesText(field.number(record, at)), repeats: false })?.suggestTemplate('bytes');
  },
};
