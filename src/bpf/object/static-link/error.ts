import { type ErrorPlace, RawbpfError } from '../../../error.ts';

/** Objects that cannot be linked into one. */
export class StaticLinkError extends RawbpfError {}

export function linkError(code: string, where: ErrorPlace, why: string, next?: string): StaticLinkError {
  return new StaticLinkError({ code, what: 'cannot link the objects into one', where, why, ...(next === undefined ? {} : { next }) });
}
