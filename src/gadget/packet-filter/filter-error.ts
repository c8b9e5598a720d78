import { UsageError } from '../../error.ts';

/** The error for an expression that cannot be understood: what is wrong, and a line that points to the place. */
export function filterError(expression: string, at: number, why: string, next?: string): UsageError {
  return new UsageError({
    code: 'E_PACKET_FILTER',
    what: 'the packet filter cannot be understood',
    where: { position: at + 1 },
    why: `${why}${next === undefined ? '' : `; ${next}`}\n  ${expression}\n  ${' '.repeat(at)}^`,
  });
}
