import t from 'tap';
import { RegexError } from '../../../src/output/regex/regex-error.ts';
import { Regex } from '../../../src/output/regex/regex.ts';

// Where RE2's syntax and JavaScript's mean the same, Node's own engine says what is right.
const patterns = [
  '',
  'a',
  'ab|cd|',
  '^a',
  'a$',
  '^$',
  '^(?:a|b)*c$',
  'a*b+c?',
  '(ab){2}',
  '(ab){2,}',
  '^(a{1,3}b){1,2}$',
  '(a*)*b',
  '(a+)+$',
  '(|a)+b',
  'a{0}b',
  '^a{0,2}$',
  '[abc]',
  '[^abc]',
  '[a-c-]b',
  '[\\]a]',
  '[\\w-]+$',
  '\\bab\\b',
  '\\Bab',
  'b\\B',
  '\\b\\b',
  '^\\b',
  '\\d+\\D',
  '\\w\\W\\w',
  '\\x61\\u0062',
  '\\u{1F600}',
  '[\\u{1F600}-\\u{1F64F}]a',
  '\\p{L}\\p{Lu}',
  '\\P{L}',
  '[^\\p{Lu}a]b',
  'a.c',
  '.*b.*a',
  '(?<name>a)b',
  'a+?b*?',
  '\\.\\/',
  '^.{2,3}$',
  'é',
  'a\\nb',
  '(?:^|/)a(?:/|$)',
];
const alphabet = ['a', 'b', 'c', '-', ']', '.', '/', 'A', 'B', '1', '_', ' ', '\n', 'é', 'Σ', '😀', '\0', 'd'];

t.test('says what RegExp says', (t) => {
  let seed = 12_345;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return (seed >>> 8) % below;
  };
  const texts = ['', ...alphabet, 'ab', 'abab', 'aabb', 'abcd', 'a\nb', 'x/a/y'];
  for (let i = 0; i < 300; i++)
    texts.push(Array.from({ length: random(9) }, () => alphabet[random(i % 2 === 0 ? 4 : alphabet.length)]).join(''));
  for (const pattern of patterns) {
    const own = new Regex(pattern);
    const node = new RegExp(pattern, 'u');
    t.same(
      texts.filter((text) => own.test(text)),
      texts.filter((text) => node.test(text)),
      pattern,
    );
  }
  t.end();
});

t.test('random expressions say what RegExp says', (t) => {
  let seed = 99;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return (seed >>> 8) % below;
  };
  const expression = (depth: number): string => {
    if (depth === 0) return ['a', 'b', '.', '[ab]', '[^a]', '^', '$', '\\b', '\\w'][random(9)] as string;
    const one = expression(depth - 1);
    switch (random(5)) {
      case 0:
        return `(?:${one}|${expression(depth - 1)})`;
      case 1:
        return `(?:${one})${['*', '+', '?', '{2}', '{1,2}', '{0,}'][random(6)]}`;
      default:
        return one + expression(depth - 1);
    }
  };
  const texts = Array.from({ length: 60 }, () => Array.from({ length: random(7) }, () => ['a', 'b', ' '][random(3)]).join(''));
  const wrong: string[] = [];
  for (let i = 0; i < 400; i++) {
    const pattern = expression(1 + random(3));
    const own = new Regex(pattern);
    const node = new RegExp(pattern, 'u');
    for (const text of texts) if (own.test(text) !== node.test(text)) wrong.push(`${pattern} on ${JSON.stringify(text)}`);
  }
  t.same(wrong, []);
  t.end();
});

t.test("what RE2 has and RegExp has not (RE2's documented syntax)", (t) => {
  const cases: readonly (readonly [string, string, boolean])[] = [
    ['(?i)cat', 'CaT', true],
    ['(?i)k', '\u212a', true],
    ['(?i:c)at', 'CAT', false],
    ['(?i)c(?-i)at', 'Cat', true],
    ['(?i)c(?-i)at', 'CAT', false],
    ['(?i)[^c]', 'C', false],
    ['(?m)^b$', 'a\nb\nc', true],
    ['^b$', 'a\nb\nc', false],
    ['a.b', 'a\nb', false],
    ['(?s)a.b', 'a\nb', true],
    ['(?P<x>a)', 'a', true],
    ['\\Aa\\z', 'a', true],
    ['\\Aa\\z', 'ba', false],
    ['^\\Qa.b\\E+$', 'a.bbb', true],
    ['\\Qa.b\\E', 'axb', false],
    ['\\Qa.b', 'a.b', true],
    ['[[:digit:]]x', '1x', true],
    ['[[:^digit:]]x', '1x', false],
    ['[]a]', ']', true],
    ['a{,2}', 'a{,2}', true],
    ['a{x', 'a{x', true],
    ['\\pL', 'é', true],
    ['\\p{Greek}', 'σ', true],
    ['\\p{^Greek}', 'σ', false],
    ['\\x{1F600}', '😀', true],
    ['\\07', '\u0007', true],
  ];
  for (const [pattern, text, wanted] of cases) t.equal(new Regex(pattern).test(text), wanted, `${pattern} on ${JSON.stringify(text)}`);
  t.end();
});

t.test('names the character of what it cannot have', (t) => {
  const cases: readonly (readonly [string, number, RegExp])[] = [
    ['ab(?=c)', 3, /lookahead is not supported, at character 3/],
    ['(?!c)', 1, /lookahead/],
    ['a(?<=c)', 2, /lookbehind/],
    ['(?<!c)', 1, /lookbehind/],
    ['(a)\\1', 4, /backreferences are not supported/],
    ['(?<n>a)\\k<n>', 8, /backreferences/],
    ['a(b', 2, /group without its \)/],
    ['a)b', 2, /unexpected \)/],
    ['[', 1, /set without its \]/],
    ['x[a-', 2, /set without its \]/],
    ['[z-a]', 2, /wrong way round/],
    ['[[:nope:]]', 2, /unknown class/],
    ['*a', 1, /nothing before \*/],
    ['a**', 3, /repetition of a repetition/],
    ['a{3,2}', 2, /wrong way round/],
    ['a{1001}', 2, /more than 1000/],
    ['ab\\', 3, /backslash at the end/],
    ['\\y', 1, /unknown escape \\y/],
    ['\\p{Nope}', 1, /unknown Unicode category Nope/],
    ['\\x{110000}', 1, /beyond Unicode/],
    ['(?z)a', 1, /unknown kind of group/],
    ['((a{1000}){1000}){1000}', 2, /too large/],
    ['((){1000}){1000}', 2, /too large/],
    ['('.repeat(1000), 251, /250 deep/],
  ];
  for (const [pattern, character, why] of cases) {
    try {
      void new Regex(pattern);
      t.fail(pattern);
    } catch (error) {
      if (!(error instanceof RegexError)) throw error;
      t.match(error.message, why, pattern.slice(0, 40));
      if (!why.source.includes('large')) t.equal(error.position, character - 1, pattern.slice(0, 40));
    }
  }
  t.end();
});

t.test('no text holds it up', (t) => {
  const text = `${'a'.repeat(4_096)}!`;
  for (const pattern of ['(a+)+$', '^(a|a)*$', '(a|aa)+$', '(.*a){20}$', '^(([a-z])+.)+[A-Z]([a-z])+$', 'a.{500}$']) {
    const regex = new Regex(pattern);
    const start = process.cpuUsage();
    t.equal(regex.test(text), pattern === 'a.{500}$', pattern);
    const { user, system } = process.cpuUsage(start);
    // RegExp would need longer than the universe has; that many states are made in far less than this.
    t.ok(user + system < 5_000_000, `${pattern}: ${user + system} us`);
  }
  t.end();
});
