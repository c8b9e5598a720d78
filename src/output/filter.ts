import type { DataSource } from '../gadget/data-source.ts';
import type { Field } from '../gadget/field.ts';
import type { EventRecord } from '../gadget/record.ts';
import { parseInteger } from '../gadget/param-codec.ts';
import { UsageError } from '../error.ts';
import { Regex } from './regex/regex.ts';
import { RegexError } from './regex/regex-error.ts';

/** Says whether an event is wanted; it looks at the event's bytes and decodes only what it compares. */
export type Predicate = (record: EventRecord) => boolean;

const operators = ['==', '=', '!=', '<', '<=', '>', '>=', '~', '!~'] as const;
type Operator = (typeof operators)[number];

/** Decides by the order of two values: negative, zero or positive. */
type Decision = (order: number) => boolean;
const decisions: Readonly<Record<Exclude<Operator, '~' | '!~'>, Decision>> = {
  '==': (order) => order === 0,
  '=': (order) => order === 0,
  '!=': (order) => order !== 0,
  '<': (order) => order < 0,
  '<=': (order) => order <= 0,
  '>': (order) => order > 0,
  '>=': (order) => order >= 0,
};

/**
 * Compiles filters such as `proc.comm==cat,fd>2`: each is `FIELD OP VALUE` with OP one of `==` (or `=`), `!=`, `<`, `<=`, `>`,
 * `>=`, `~` and `!~` (regular expressions of RE2's syntax, in linear time); a comma means and, `\,` is a comma. Integers compare exactly at any size, text by its
 * characters' codes.
 *
 * `sources` are all of the gadget's, where there are several: a filter then counts for those that have the field, and
 * `SOURCE:FIELD OP VALUE` for one alone. Null where none of them counts for this source.
 *
 * Throws UsageError `E_FILTER` for a filter that cannot be read or a value that does not fit the field, `E_FIELD` for an unknown field.
 */
export function compileFilter(source: DataSource, text: string): Predicate;
export function compileFilter(source: DataSource, text: string, sources: readonly DataSource[]): Predicate | null;
export function compileFilter(source: DataSource, text: string, sources: readonly DataSource[] = [source]): Predicate | null {
  const parts = splitFilters(text);
  if (parts.length === 0) throw new UsageError({ code: 'E_FILTER', what: 'the filter is empty' });
  const predicates = parts.flatMap((part) => {
    const own = partFor(source, part, sources);
    return own === null ? [] : [compileOne(source, own)];
  });
  const [first, second] = predicates;
  if (first === undefined) return null;
  if (second === undefined) return first;
  return (record) => {
    for (let i = 0; i < predicates.length; i++) if (!(predicates[i] as Predicate)(record)) return false;
    return true;
  };
}

/** Splits at commas that no backslash is before. */
function splitFilters(text: string): string[] {
  const parts: string[] = [];
  let part = '';
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '\\' && text[i + 1] === ',') part += text[++i];
    else if (text[i] === ',') {
      parts.push(part);
      part = '';
    } else part += text[i];
  }
  parts.push(part);
  return parts.filter((each) => each.trim() !== '');
}

/** A filter without the source's name that may be before it; null where it is for other sources. */
function partFor(source: DataSource, part: string, sources: readonly DataSource[]): string | null {
  const [, name = null, field = ''] = /^\s*(?:([^\s=!<>~:]+):)?([^\s=!<>~]+)/u.exec(part) ?? [];
  if (name === null) {
    const have = sources.filter((candidate) => candidate.find(field) !== null);
    // Of a field that none has the message says what there is.
    return have.length === 0 || have.includes(source) ? part : null;
  }
  if (!sources.some((candidate) => candidate.name === name)) {
    const names = sources.map((candidate) => candidate.name);
    throw new UsageError({
      code: 'E_FIELD',
      what: `the filter ${part.trim()} names no data source of this gadget: ${name}`,
      next: `it has ${names.join(', ')}`,
    });
  }
  return name === source.name ? part.slice(part.indexOf(':') + 1) : null;
}

function compileOne(source: DataSource, text: string): Predicate {
  const match = /^\s*([^\s=!<>~]+)\s*(==|!=|!~|<=|>=|=|<|>|~)\s*(.*?)\s*$/su.exec(text);
  if (match === null) {
    throw new UsageError({
      code: 'E_FILTER',
      what: `cannot read the filter ${text.trim()}`,
      next: `write FIELD OP VALUE, where OP is one of ${operators.join(' ')}`,
    });
  }
  const [, name = '', operator = '', value = ''] = match;
  const field = source.field(name);
  if (field.slot === null) throw new UsageError({ code: 'E_FILTER', what: `${field.name} is a struct`, next: `filter by a field in it` });
  return compare(field, operator as Operator, value, text.trim());
}

function compare(field: Field, operator: Operator, value: string, filter: string): Predicate {
  if (operator === '~' || operator === '!~') return matches(field, operator === '~', value, filter);
  const decide = decisions[operator];
  if (field.kind === 'bool') return compareNumber(field, decide, booleanOf(value, filter));
  if (field.isFloat) return compareNumber(field, decide, numberOf(value, filter));
  if (field.isInteger) {
    const whole = parseInteger(value);
    if (whole === null) return compareFraction(field, decide, numberOf(value, filter));
    return field.isWide ? compareWide(field, decide, whole) : compareNumber(field, decide, Number(whole));
  }
  return compareText(field, operator, decide, value);
}

function compareNumber(field: Field, decide: Decision, value: number): Predicate {
  return (record) => {
    const own = field.number(record);
    // NaN is neither less nor greater, and equal to nothing.
    return Number.isNaN(own) ? decide === decisions['!='] : decide(own < value ? -1 : own > value ? 1 : 0);
  };
}

/** Against a number with a fraction no integer is equal, and a bigint compares with it exactly. */
function compareFraction(field: Field, decide: Decision, value: number): Predicate {
  return (record) => {
    const own = field.wide(record);
    return decide(own < value ? -1 : own > value ? 1 : 0);
  };
}

function compareWide(field: Field, decide: Decision, value: bigint): Predicate {
  const { slot } = field;
  if (slot?.shape === 'scalar' && slot.kind === 'uint64' && value >= 0n && value < 1n << 64n) {
    // Two words instead of a bigint for every event.
    const high = Number(value >> 32n);
    const low = Number(value & 0xffffffffn);
    const { offset } = slot;
    return ({ view, offset: at }) => {
      const ownHigh = view.getUint32(at + offset + 4, true);
      const order = ownHigh === high ? view.getUint32(at + offset, true) - low : ownHigh - high;
      return decide(order);
    };
  }
  return (record) => {
    const own = field.wide(record);
    return decide(own < value ? -1 : own > value ? 1 : 0);
  };
}

function compareText(field: Field, operator: Operator, decide: Decision, value: string): Predicate {
  const needle = Buffer.from(value);
  const { slot } = field;
  const isEquality = operator === '==' || operator === '=' || operator === '!=';
  // Bytes that are no UTF-8 are shown as U+FFFD: whoever asks for that means what is shown.
  if (slot?.shape === 'chars' && isEquality && !value.includes('\ufffd') && !value.includes('\0')) {
    const wanted = operator !== '!=';
    const { offset, length } = slot;
    if (needle.length > length) return () => !wanted;
    return ({ bytes, offset: at }) => {
      const start = at + offset;
      for (let i = 0; i < needle.length; i++) if (bytes[start + i] !== needle[i]) return !wanted;
      return (needle.length === length || bytes[start + needle.length] === 0) === wanted;
    };
  }
  return (record) => decide(Buffer.compare(Buffer.from(field.text(record)), needle));
}

function matches(field: Field, wanted: boolean, pattern: string, filter: string): Predicate {
  // Not RegExp: it goes back and forth, and a name of the right kind in an event would hold up all others.
  const expression = regexOf(pattern, filter);
  return (record) => expression.test(field.text(record)) === wanted;
}

function regexOf(pattern: string, filter: string): Regex {
  try {
    return new Regex(pattern);
  } catch (error) {
    if (!(error instanceof RegexError)) throw error;
    throw new UsageError({
      code: 'E_FILTER',
      what: `bad regular expression in the filter ${filter}`,
      ...(error.why === null ? {} : { why: error.why }),
      ...(error.next === null ? {} : { next: error.next }),
      cause: error,
    });
  }
}

function booleanOf(value: string, filter: string): number {
  if (/^(?:true|1)$/i.test(value)) return 1;
  if (/^(?:false|0)$/i.test(value)) return 0;
  throw new UsageError({ code: 'E_FILTER', what: `bad value in the filter ${filter}`, why: 'the field is true or false' });
}

function numberOf(value: string, filter: string): number {
  const number = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(value) ? Number(value) : Number.NaN;
  if (!Number.isNaN(number)) return number;
  throw new UsageError({ code: 'E_FILTER', what: `bad value in the filter ${filter}`, why: 'the field is a number' });
}
