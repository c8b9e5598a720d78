import { printable, printableLines } from './bytes/printable.ts';

/** Where an error happened: a file, section, symbol, instruction, structure, field... as far as known. */
export type ErrorPlace = Readonly<Record<string, string | number | bigint>>;

/** The parts of a {@link RawbpfError}. */
export interface ErrorParts {
  /** A stable identifier, such as `E_ELF_TRUNCATED`; it never changes between releases. */
  readonly code: string;
  /** What failed, as a sentence without a full stop. */
  readonly what: string;
  /** On which file, section, symbol, instruction, structure or field. */
  readonly where?: ErrorPlace;
  /** Why it failed, as far as known. */
  readonly why?: string;
  /** What the person reading this can do next. */
  readonly next?: string;
  /** The error that led to this one. */
  readonly cause?: unknown;
}

/**
 * The base of every error that rawbpf throws on purpose: what failed, where, why, and the next step.
 *
 * @example
 * import { RawbpfError } from 'rawbpf';
 * const error = new RawbpfError({ code: 'E_EXAMPLE', what: 'nothing works', where: { file: 'a.o' }, next: 'try again' });
 * console.log(error.message); // nothing works (file a.o): try again
 */
export class RawbpfError extends Error {
  readonly code: string;
  readonly what: string;
  readonly where: ErrorPlace;
  readonly why: string | null;
  readonly next: string | null;
  /** Marks errors of any copy of this package in the process. */
  readonly isRawbpfError = true as const;

  constructor(parts: ErrorParts) {
    super(errorMessage(parts), parts.cause === undefined ? undefined : { cause: parts.cause });
    this.name = new.target.name;
    this.code = parts.code;
    this.what = parts.what;
    this.where = Object.freeze({ ...parts.where });
    this.why = parts.why ?? null;
    this.next = parts.next ?? null;
  }

  // A brand, not the prototype: two copies of the package in one process still recognise each other's errors.
  static override [Symbol.hasInstance](value: unknown): boolean {
    if (this !== RawbpfError) return Function.prototype[Symbol.hasInstance].call(this, value);
    return typeof value === 'object' && value !== null && 'isRawbpfError' in value;
  }
}

function errorMessage(parts: ErrorParts): string {
  const place = Object.entries(parts.where ?? {}).map(([name, value]) => `${name} ${printable(String(value))}`);
  // Names of files, symbols and types stand in all parts; what is said in several lines stays so.
  let message = printableLines(parts.what);
  if (place.length > 0) message += ` (${place.join(', ')})`;
  if (parts.why !== undefined) message += `: ${printableLines(parts.why)}`;
  if (parts.next !== undefined) message += `${parts.why === undefined ? ':' : ';'} ${printableLines(parts.next)}`;
  return message;
}

/** Malformed bytes: an ELF, BTF or other structure that says something impossible. */
export class FormatError extends RawbpfError {}

/** Something well-formed that rawbpf or this kernel cannot do. */
export class UnsupportedError extends RawbpfError {}

/** The caller asked for something impossible: an unknown name, a value out of range, an object already closed. */
export class UsageError extends RawbpfError {}
