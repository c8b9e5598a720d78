import { Unreadable } from './cursor.ts';
import { NameReader } from './name.ts';
import { print, TooMuch } from './node.ts';

/**
 * A name of C++ as its programmer wrote it, templates with their arguments, without the function's own parameters; null for what
 * is not understood. Source: the Itanium C++ ABI, 5.1; spelled as by c++filt -p.
 */
export function demangleCpp(name: string): string | null {
  if (!name.startsWith('_Z')) return null;
  try {
    return print(new NameReader(name, 2).read());
  } catch (error) {
    if (error instanceof Unreadable || error instanceof TooMuch) return null;
    throw error;
  }
}
