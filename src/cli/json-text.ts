import { randomUUID } from 'node:crypto';

/**
 * JSON text of a value as JSON.stringify writes it, with bigints as bare digits and no control character left raw.
 *
 * @param indent spaces a level; 0 for one line
 */
export function jsonText(value: unknown, indent = 0): string {
  // A marker that no value holds by itself: names out of files cannot know it.
  const marker = `bigint:${randomUUID()}:`;
  const text = JSON.stringify(value, (_key, field: unknown) => (typeof field === 'bigint' ? `${marker}${field}` : field), indent);
  const exact = text.replace(new RegExp(`"${marker}(-?\\d+)"`, 'g'), '$1');
  // DEL and C1, which JSON leaves as they are: a terminal takes U+009B for ESC [.
  return exact.replace(/[\u007f-\u009f]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
