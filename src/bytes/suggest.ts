/** In longer lists no more letters than these may differ: what is further off is found by chance, and takes longest to look for. */
const longList = 10_000;
const mostInLongList = 4;

/**
 * The names most like `name`, nearest first: for "did you mean" in error messages. Near is a name of which at most a third of the
 * letters differ (of more than 10,000 names: at most four letters), or that begins with the one that is sought, or holds it.
 *
 * @param limit how many to give at most
 */
export function suggest(name: string, candidates: Iterable<string>, limit = 3): string[] {
  const wanted = name.toLowerCase();
  const all = [...candidates];
  const third = Math.max(2, Math.floor(name.length / 3));
  const most = all.length > longList ? Math.min(third, mostInLongList) : third;
  const names = all.length > longList ? sharingPieces(wanted, all, most) : all;
  const distances = new Distances(wanted);
  const found: { candidate: string; distance: number }[] = [];
  for (const candidate of names) {
    const distance = distanceOf(wanted, candidate.toLowerCase(), most, distances);
    if (distance !== null) found.push({ candidate, distance });
  }
  found.sort((a, b) => a.distance - b.distance || (a.candidate < b.candidate ? -1 : 1));
  return found.slice(0, limit).map((entry) => entry.candidate);
}

function distanceOf(wanted: string, name: string, most: number, distances: Distances): number | null {
  if (name.startsWith(wanted)) return 1;
  // The length alone rules many names out.
  if (Math.abs(name.length - wanted.length) <= most) {
    const distance = distances.to(name, most);
    if (distance <= most) return distance;
  }
  // A name that holds the wanted one as a whole is worth showing, after the near ones.
  return wanted.length >= 4 && name.includes(wanted) ? most + 1 + (name.length - wanted.length) / 100 : null;
}

/**
 * Those of many names that may be near: of `most + 1` pieces of the wanted name at least one is whole in any name that `most` edits
 * lead to. Looking for the pieces in one text of all names takes a hundredth of the time of comparing them.
 */
function sharingPieces(wanted: string, names: readonly string[], most: number): Iterable<string> {
  const text = names.join('\n');
  const lower = text.toLowerCase();
  const piece = (i: number): number => Math.floor((i * wanted.length) / (most + 1));
  const pieces = Array.from({ length: most + 1 }, (_, i) => wanted.slice(piece(i), piece(i + 1)));
  // Letters that have more in lower case, and names shorter than the pieces are many: then all.
  if (lower.length !== text.length || pieces.includes('')) return names;
  const found = new Map<number, string>();
  for (const part of pieces) {
    for (let at = lower.indexOf(part); at >= 0;) {
      const start = at === 0 ? 0 : lower.lastIndexOf('\n', at - 1) + 1;
      const end = lower.indexOf('\n', at);
      if (!found.has(start)) found.set(start, text.slice(start, end < 0 ? text.length : end));
      at = end < 0 ? -1 : lower.indexOf(part, end);
    }
  }
  return found.values();
}

/** `did you mean a, b or c?`, or an empty string where nothing is near. */
export function didYouMean(name: string, candidates: Iterable<string>): string {
  return orList(suggest(name, candidates));
}

/** The same of names that are near. */
export function orList(names: readonly string[]): string {
  if (names.length === 0) return '';
  const last = names.at(-1) as string;
  return `did you mean ${names.length === 1 ? last : `${names.slice(0, -1).join(', ')} or ${last}`}?`;
}

/** Levenshtein distances from one name. */
class Distances {
  readonly #name: string;
  #previous: Uint32Array;
  #current: Uint32Array;

  constructor(name: string) {
    this.#name = name;
    this.#previous = new Uint32Array(name.length + 1);
    this.#current = new Uint32Array(name.length + 1);
  }

  /** To another name: row by row, and of each row only what lies near enough to the diagonal; above `most` where it is more than that. */
  to(other: string, most: number): number {
    const name = this.#name;
    for (let j = 0; j <= name.length; j++) this.#previous[j] = j;
    for (let i = 1; i <= other.length; i++) {
      const [previous, current] = [this.#previous, this.#current];
      const from = Math.max(1, i - most);
      const to = Math.min(name.length, i + most);
      const letter = other.charCodeAt(i - 1);
      let left = from === 1 ? i : most + 1;
      let least = left;
      current[from - 1] = left;
      for (let j = from; j <= to; j++) {
        const substituted = (previous[j - 1] as number) + (letter === name.charCodeAt(j - 1) ? 0 : 1);
        // Right of the row above there is nothing near.
        const inserted = j < i + most ? (previous[j] as number) + 1 : substituted;
        left = Math.min(substituted, inserted, left + 1);
        current[j] = left;
        if (left < least) least = left;
      }
      if (least > most) return most + 1;
      this.#previous = current;
      this.#current = previous;
    }
    return this.#previous[name.length] as number;
  }
}
