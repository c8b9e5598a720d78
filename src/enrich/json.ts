/** Parsed JSON of which nothing is known yet: an answer may hold anything. */
export type Json = unknown;

/** A member of an object; undefined where it is not an object, or has no such member of its own. */
export function member(value: Json, name: string): Json {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name) ? Reflect.get(value, name) : undefined;
}

/** A member some levels down. */
export function at(value: Json, ...names: readonly string[]): Json {
  return names.reduce<Json>((inner, name) => member(inner, name), value);
}

/** The text, or an empty one where it is none. */
export function text(value: Json): string {
  return typeof value === 'string' ? value : '';
}

/** The whole number, or 0 where it is none. */
export function integer(value: Json): number {
  return typeof value === 'number' && Number.isSafeInteger(value) ? value : 0;
}

/** The elements; none where it is no array. */
export function elements(value: Json): readonly Json[] {
  return Array.isArray(value) ? value : [];
}

/** Members that are texts, such as labels. */
export function texts(value: Json): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return found;
  for (const [name, each] of Object.entries(value)) if (typeof each === 'string') found.set(name, each);
  return found;
}

/** Parses; undefined for what is no JSON. */
export function parseJson(source: string): Json {
  try {
    return JSON.parse(source);
  } catch {
    return undefined;
  }
}
