import { randomUUID } from 'node:crypto';
import { safeJson } from '../bytes/printable.ts';

/**
 * JSON text of a value as JSON.stringify writes it, with bigints as bare digits and no control character left raw.
 *
 * @param indent spaces a level; 0 for one line
 */
export function jsonText(value: unknown, indent = 0): string {
  // A marker that no value holds by itself: names out of files cannot know it.
  const marker = `bigint:${randomUUID()}:`;
  const text = JSON.stringify(value, (_key, field: unknown) => (typeof field === 'bigint' ? `${marker}${field}` : field), indent);
  return safeJson(text.replace(new RegExp(`"${marker}(-?\\d+)"`, 'g'), '$1'));
}
