/** Whether a name fits a pattern in which `*` stands for any text and `?` for one character; time grows with the product of the lengths at most. */
export function matchesGlob(pattern: string, name: string): boolean {
  let p = 0;
  let n = 0;
  // Where the last star was, and where in the name its text ends so far.
  let star = -1;
  let taken = 0;
  while (n < name.length) {
    if (p < pattern.length && pattern[p] === '*') {
      star = p++;
      taken = n;
    } else if (p < pattern.length && (pattern[p] === '?' || pattern[p] === name[n])) {
      p++;
      n++;
    } else if (star >= 0) {
      p = star + 1;
      n = ++taken;
    } else return false;
  }
  while (pattern[p] === '*') p++;
  return p === pattern.length;
}

/** Whether a pattern can stand for more than one name. */
export const isGlob = (pattern: string): boolean => /[*?]/.test(pattern);
