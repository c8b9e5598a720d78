import { didYouMean } from '../bytes/suggest.ts';
import { UsageError } from '../error.ts';

/** One option of a command. */
export interface OptionSpec {
  /** Without dashes: `output`. */
  readonly name: string;
  /** One letter, without its dash. */
  readonly short?: string;
  /** Name of its value in the help text, `FORMAT`; absent for an option that takes none. */
  readonly value?: string;
  /** May be given several times. */
  readonly multiple?: boolean;
  readonly help: string;
}

/** Options and operands as given, checked against the options a command has. */
export class ParsedOptions {
  readonly operands: readonly string[];
  readonly #values: ReadonlyMap<string, readonly string[]>;

  constructor(operands: readonly string[], values: ReadonlyMap<string, readonly string[]>) {
    this.operands = operands;
    this.#values = values;
  }

  has(name: string): boolean {
    return this.#values.has(name);
  }

  /** The last value given, null where the option was not. */
  text(name: string): string | null {
    return this.#values.get(name)?.at(-1) ?? null;
  }

  all(name: string): readonly string[] {
    return this.#values.get(name) ?? [];
  }

  /** Whether a switch is on: `--x`, or `--x=true`. */
  flag(name: string): boolean {
    const value = this.text(name);
    if (value === null || value === 'false') return false;
    if (value === 'true') return true;
    throw usage(`--${name} is a switch`, `it takes true or false, not ${value}`);
  }

  /** A whole number within a range, null where the option was not given. */
  integer(name: string, range: { readonly min: number; readonly max: number }): number | null {
    const value = this.text(name);
    if (value === null) return null;
    const number = Number(value);
    if (!/^-?\d+$/.test(value) || number < range.min || number > range.max) {
      throw usage(`--${name} ${value} is not a whole number`, `it must be between ${range.min} and ${range.max}`);
    }
    return number;
  }

  /** A number of seconds, fractions allowed. */
  seconds(name: string): number | null {
    const value = this.text(name);
    if (value === null) return null;
    if (!/^\d+(\.\d+)?$/.test(value) || Number(value) > 2_000_000) throw usage(`--${name} ${value} is not a number of seconds`);
    return Number(value);
  }

  /** One of several words. */
  choice<const T extends string>(name: string, choices: readonly T[]): T | null {
    const value = this.text(name);
    if (value === null) return null;
    const found = choices.find((choice) => choice === value);
    if (found === undefined) {
      throw usage(
        `--${name} ${value} is not known`,
        [`it is one of ${choices.join(', ')}`, didYouMean(value, choices)].filter(Boolean).join('; '),
      );
    }
    return found;
  }
}

/** A mistake in how a command was typed. */
export function usage(what: string, why?: string): UsageError {
  return new UsageError({ code: 'E_USAGE', what, ...(why === undefined ? {} : { why }) });
}

/**
 * Parses arguments: `--name value`, `--name=value`, `-n value`, `-nvalue`, `--` ends options.
 *
 * @param stopAtOperand stop at the first operand and give the rest back untouched
 * @throws UsageError E_USAGE for an unknown option, a missing or an unwanted value, an option given twice
 */
export function parseOptions(
  args: readonly string[],
  specs: readonly OptionSpec[],
  stopAtOperand = false,
): { options: ParsedOptions; rest: readonly string[] } {
  const byName = new Map(specs.map((spec) => [spec.name, spec]));
  const byShort = new Map(specs.flatMap((spec) => (spec.short === undefined ? [] : [[spec.short, spec] as const])));
  const values = new Map<string, string[]>();
  const operands: string[] = [];
  let index = 0;
  const set = (spec: OptionSpec, shown: string, inline: string | null): void => {
    let value = inline;
    if (value === null && spec.value !== undefined) {
      value = args[index++] ?? null;
      if (value === null) throw usage(`${shown} needs a value`, `${shown} ${spec.value}: ${spec.help}`);
    }
    const given = values.get(spec.name);
    if (given !== undefined && spec.multiple !== true) throw usage(`${shown} is given twice`);
    if (given === undefined) values.set(spec.name, [value ?? 'true']);
    else given.push(value ?? 'true');
  };
  while (index < args.length) {
    const arg = args[index] as string;
    if (arg === '--') {
      operands.push(...args.slice(index + 1));
      return { options: new ParsedOptions(operands, values), rest: [] };
    }
    if (!arg.startsWith('-') || arg === '-') {
      if (stopAtOperand) break;
      operands.push(arg);
      index++;
      continue;
    }
    index++;
    if (arg.startsWith('--')) {
      const equals = arg.indexOf('=');
      const name = equals < 0 ? arg.slice(2) : arg.slice(2, equals);
      const spec = byName.get(name);
      if (spec === undefined) throw unknownOption(`--${name}`, name, byName.keys());
      set(spec, `--${name}`, equals < 0 ? null : arg.slice(equals + 1));
    } else {
      const letter = arg.slice(1, 2);
      const spec = byShort.get(letter);
      if (spec === undefined) throw unknownOption(`-${letter}`, letter, []);
      const inline = arg.slice(2);
      if (inline !== '' && spec.value === undefined) throw usage(`-${letter} takes no value`);
      set(spec, `-${letter}`, inline === '' ? null : inline.replace(/^=/, ''));
    }
  }
  return { options: new ParsedOptions(operands, values), rest: args.slice(index) };
}

function unknownOption(shown: string, name: string, names: Iterable<string>): UsageError {
  const near = didYouMean(name, names);
  return usage(`unknown option ${shown}`, near === '' ? undefined : near.replace(/(mean |, | or )(?=\S)/g, '$1--'));
}
