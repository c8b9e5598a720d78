import { readFileSync } from 'node:fs';
import { UsageError } from '../../error.ts';
import { openFs } from '../../sys/detached-mount.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { isGlob, matchesGlob } from './glob.ts';
import { didYouMean } from '../../bytes/suggest.ts';

/** The names of the functions (of one module, '' for the kernel itself) that ftrace can trace and that fit a pattern; null where the kernel has no list of them. */
export function traceableNames(kernel: Kernel, pattern: string, module?: string): ReadonlySet<string> | null {
  const all = traceable(kernel, module);
  return all === null ? null : new Set(all.filter((name) => matchesGlob(pattern, name)));
}

function traceable(kernel: Kernel, module?: string): string[] | null {
  const tracefs = openFs(kernel.sys, 'tracefs');
  try {
    const text = readFileSync(`${tracefs.path}/available_filter_functions`, 'latin1');
    // A line is `name` or `name [module]`; there are 50,000 and more.
    return text.split('\n').flatMap((line) => {
      const end = line.search(/\s/);
      if (end < 0) return line !== '' && (module === undefined || module === '') ? [line] : [];
      const of = line.slice(line.indexOf('[', end) + 1, line.lastIndexOf(']'));
      return module === undefined || of === module ? [line.slice(0, end)] : [];
    });
  } catch {
    // A kernel without dynamic ftrace.
    return null;
  } finally {
    tracefs.close();
  }
}

/** What to throw where a pattern fits no function. */
export function noneFits(kernel: Kernel, pattern: string): UsageError {
  const next = isGlob(pattern) ? '' : didYouMean(pattern, traceable(kernel) ?? []);
  return new UsageError({
    code: 'E_KPROBE',
    what: 'this kernel has no traceable function that fits',
    where: { pattern },
    next: next === '' ? 'available_filter_functions of tracefs has those that can be traced' : next,
  });
}
