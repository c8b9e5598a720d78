/**
 * The names most like `name`, nearest first: for "did you mean" in error messages.
 *
 * @param limit how many to give at most
 */
export function suggest(name: string, candidates: Iterable<string>, limit = 3): string[] {
  const wanted = name.toLowerCase();
  const most = Math.max(2, Math.floor(name.length / 3));
  const found: { candidate: string; distance: number }[] = [];
  for (const candidate of candidates) {
    const distance = distanceOf(wanted, candidate.toLowerCase(), most);
    if (distance !== null) found.push({ candidate, distance });
  }
  found.sort((a, b) => a.distance - b.distance || (a.candidate < b.candidate ? -1 : 1));
  return found.slice(0, limit).map((entry) => entry.candidate);
}

function distanceOf(wanted: string, name: string, most: number): number | null {
  if (name.startsWith(wanted)) return 1;
  // The length alone rules most names out; kernel symbol tables have 200,000.
  if (Math.abs(name.length - wanted.length) <= most) {
    const distance = editDistance(wanted, name, most);
    if (distance <= most) return distance;
  }
  // A name that holds the wanted one as a whole is worth showing, after the near ones.
  return wanted.length >= 4 && name.includes(wanted) ? most + 1 + (name.length - wanted.length) / 100 : null;
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

/** Levenshtein distance, given up beyond `most`. */
function editDistance(a: string, b: string, most: number): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    let least = i;
    for (let j = 1; j <= b.length; j++) {
      const substitution = (previous[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const value = Math.min(substitution, (previous[j] as number) + 1, (current[j - 1] as number) + 1);
      current.push(value);
      least = Math.min(least, value);
    }
    if (least > most) return most + 1;
    previous = current;
  }
  return previous[b.length] as number;
}
