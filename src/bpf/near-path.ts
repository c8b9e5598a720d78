import { readdirSync } from 'node:fs';
import path from 'node:path';
import { printable } from '../bytes/printable.ts';
import { didYouMean } from '../bytes/suggest.ts';

/** What to say of a path that is not there: names like the one that is missing, or the folder that is the last one there. */
export function nearPath(missing: string): string {
  const parts = path.resolve(missing).split('/').slice(1);
  for (let count = parts.length - 1; count >= 0; count--) {
    const folder = `/${parts.slice(0, count).join('/')}`;
    let names: string[];
    try {
      names = readdirSync(folder);
    } catch {
      continue;
    }
    const name = parts[count] ?? '';
    // A name that is there was looked up by somebody who may not see it.
    const meant = names.includes(name) ? '' : didYouMean(name, names);
    return printable(meant === '' ? `give one that is there: ${folder} is, and has no ${name}` : `${meant} (in ${folder})`);
  }
  return 'give the path of one that is there';
}
