/** Names close to one that was not found, best first: for "did you mean". */
export function suggest(wanted: string, names: Iterable<string>, count = 3): string[] {
  const scored: { name: string; score: number }[] = [];
  const limit = Math.max(2, Math.floor(wanted.length / 3));
  for (const name of names) {
    const score = closeness(wanted, name, limit);
    if (score !== null) scored.push({ name, score });
  }
  return scored
    .toSorted((a, b) => a.score - b.score || (a.name < b.name ? -1 : 1))
    .slice(0, count)
    .map(({ name }) => name);
}

/** "did you mean a or b?", or nothing. */
export function didYouMean(wanted: string, names: Iterable<string>): string | null {
  const found = suggest(wanted, names);
  return found.length === 0 ? null : `did you mean ${found.join(' or ')}?`;
}

function closeness(wanted: string, name: string, limit: number): number | null {
  if (Math.abs(wanted.length - name.length) <= limit) {
    const distance = editDistance(wanted, name, limit);
    if (distance <= limit) return distance;
  }
  // A name that holds the wanted one as a whole is worth showing, after the near ones.
  return wanted.length >= 4 && name.includes(wanted) ? limit + 1 + (name.length - wanted.length) / 100 : null;
}

/** Levenshtein distance, given up (limit + 1) once it must exceed `limit`. */
export function editDistance(a: string, b: string, limit: number): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    let least = i;
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      const value = Math.min((row[j] as number) + 1, (next[j - 1] as number) + 1, (row[j - 1] as number) + cost);
      next.push(value);
      least = Math.min(least, value);
    }
    if (least > limit) return limit + 1;
    row = next;
  }
  return row[b.length] as number;
}
