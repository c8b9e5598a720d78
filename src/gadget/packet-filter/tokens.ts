import { parseIp } from '../special/ip.ts';
import { filterError } from './filter-error.ts';

/** One word of a filter expression; `at` is where it begins, `text` what was typed. */
export type Token = { readonly at: number; readonly text: string } & (
  | { readonly kind: 'number'; readonly value: number }
  /** Two to four numbers with dots between; `bits` says how many were given. */
  | { readonly kind: 'ipv4'; readonly value: number; readonly bits: number }
  | { readonly kind: 'ipv6'; readonly words: readonly number[] }
  | { readonly kind: 'mac'; readonly bytes: readonly number[] }
  /** A name; behind a backslash it is none of the language's own words. */
  | { readonly kind: 'word'; readonly name: string; readonly escaped: boolean }
  | { readonly kind: 'range'; readonly first: string; readonly last: string }
  | { readonly kind: 'sign' }
  | { readonly kind: 'end' }
);

/** Longer expressions are a mistake. */
const maxLength = 16_384;
const space = /\s*/y;
const mac =
  /(?:[0-9a-f]{1,2}(?::[0-9a-f]{1,2}){5}|[0-9a-f]{1,2}(?:-[0-9a-f]{1,2}){5}|[0-9a-f]{1,2}(?:\.[0-9a-f]{1,2}){5}|[0-9a-f]{4}(?:\.[0-9a-f]{4}){2})(?![\w:.])/iy;
const ipv6 = /[0-9a-f]*:[0-9a-f:]*:[0-9a-f:.]*/iy;
const ipv4 = /\d+(?:\.\d+){1,3}(?![\w.])/y;
const integer = /(?:0x[0-9a-f]+|\d+)(?![\w.])/iy;
const word = /\\?[a-z](?:[\w.-]*\w)?/iy;
const range = /(\w+)-(\w+)/y;
const sign = /&&|\|\||<<|>>|<=|>=|==|!=|[()[\]:+\-*/%&|^<>=!]/y;

/** Cuts an expression into tokens; the last is the end. Throws UsageError `E_PACKET_FILTER` where there is none. */
export function tokenize(expression: string): Token[] {
  if (expression.length > maxLength) throw filterError(expression, 0, `it has more than ${maxLength} characters`);
  const tokens: Token[] = [];
  let at = 0;
  // Within brackets a colon stands before a size, and is no part of an address.
  let brackets = 0;
  for (;;) {
    at = end(space, expression, at);
    if (at >= expression.length) break;
    const token = tokenAt(expression, at, brackets > 0, tokens.at(-1));
    if (token.text === '[') brackets++;
    else if (token.text === ']') brackets--;
    tokens.push(token);
    at += token.text.length;
  }
  tokens.push({ kind: 'end', at: expression.length, text: '' });
  return tokens;
}

function end(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : at;
}

function match(pattern: RegExp, text: string, at: number): string | null {
  const stop = end(pattern, text, at);
  return stop === at ? null : text.slice(at, stop);
}

function tokenAt(expression: string, at: number, inBrackets: boolean, before: Token | undefined): Token {
  let text: string | null;
  if (before?.text === 'portrange' && (text = match(range, expression, at)) !== null) {
    const [first = '', last = ''] = text.split('-');
    return { kind: 'range', at, text, first, last };
  }
  if (!inBrackets) {
    if ((text = match(mac, expression, at)) !== null) return { kind: 'mac', at, text, bytes: macBytes(text) };
    if ((text = match(ipv6, expression, at)) !== null) {
      const bytes = parseIp(text);
      if (bytes === null) throw filterError(expression, at, `${text} is no IPv6 address`);
      const view = new DataView(bytes.buffer);
      return { kind: 'ipv6', at, text, words: [0, 4, 8, 12].map((offset) => view.getUint32(offset)) };
    }
    if ((text = match(ipv4, expression, at)) !== null) return dotted(expression, at, text);
  }
  if ((text = match(integer, expression, at)) !== null) return integerToken(expression, at, text);
  if ((text = match(word, expression, at)) !== null) {
    const escaped = text.startsWith('\\');
    return { kind: 'word', at, text, name: escaped ? text.slice(1) : text, escaped };
  }
  if ((text = match(sign, expression, at)) !== null) return { kind: 'sign', at, text };
  throw filterError(expression, at, `nothing begins with ${expression.slice(at, at + 12)}`);
}

function macBytes(text: string): number[] {
  const parts = text.split(/[:.-]/);
  return parts.length === 3 ? parts.flatMap((part) => [part.slice(0, 2), part.slice(2)].map(hex)) : parts.map(hex);
}

const hex = (text: string): number => Number.parseInt(text, 16);

function dotted(expression: string, at: number, text: string): Token {
  const parts = text.split('.').map(Number);
  if (parts.some((part) => part > 255)) throw filterError(expression, at, `${text} is no IPv4 address`);
  return { kind: 'ipv4', at, text, value: parts.reduce((value, part) => value * 256 + part, 0), bits: parts.length * 8 };
}

function integerToken(expression: string, at: number, text: string): Token {
  const octal = /^0[0-7]+$/.test(text);
  if (!octal && /^0\d/.test(text)) throw filterError(expression, at, `${text} is no octal number`);
  const value = octal ? Number.parseInt(text, 8) : Number(text);
  if (value > 0xffff_ffff) throw filterError(expression, at, `${text} does not fit into 32 bits`);
  return { kind: 'number', at, text, value };
}
