/**
 * JSON text of a value as JSON.stringify writes it, with bigints as bare digits.
 *
 * @param indent spaces a level; 0 for one line
 */
export function jsonText(value: unknown, indent = 0): string {
  // A marker no value can hold by itself: it is made of characters JSON escapes.
  const marker = '\u0001big\u0002';
  const text = JSON.stringify(value, (_key, field: unknown) => (typeof field === 'bigint' ? `${marker}${field}` : field), indent);
  return text.replace(/"\\u0001big\\u0002(-?\d+)"/g, '$1');
}
