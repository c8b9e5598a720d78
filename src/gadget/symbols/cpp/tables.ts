// Itanium C++ ABI, 5.1.3 (operators), 5.1.5.2 (types) and 5.1.8 (abbreviations).

/** Types of one letter. */
export const builtinTypes: ReadonlyMap<string, string> = new Map([
  ['v', 'void'],
  ['w', 'wchar_t'],
  ['b', 'bool'],
  ['c', 'char'],
  ['a', 'signed char'],
  ['h', 'unsigned char'],
  ['s', 'short'],
  ['t', 'unsigned short'],
  ['i', 'int'],
  ['j', 'unsigned int'],
  ['l', 'long'],
  ['m', 'unsigned long'],
  ['x', 'long long'],
  ['y', 'unsigned long long'],
  ['n', '__int128'],
  ['o', 'unsigned __int128'],
  ['f', 'float'],
  ['d', 'double'],
  ['e', 'long double'],
  ['g', '__float128'],
  ['z', '...'],
  ['Dd', 'decimal64'],
  ['De', 'decimal128'],
  ['Df', 'decimal32'],
  ['Dh', 'half'],
  ['Di', 'char32_t'],
  ['Ds', 'char16_t'],
  ['Du', 'char8_t'],
  ['Da', 'auto'],
  ['Dc', 'decltype(auto)'],
  ['Dn', 'decltype(nullptr)'],
]);

/** What is written behind a number of a type; types that are not here are written before it. */
export const literalSuffixes: ReadonlyMap<string, string> = new Map([
  ['i', ''],
  ['j', 'u'],
  ['l', 'l'],
  ['m', 'ul'],
  ['x', 'll'],
  ['y', 'ull'],
]);

const charTraits = 'std::char_traits<char>';

/** Abbreviations of the standard library: the class, and what its constructors are called. */
export const abbreviations: ReadonlyMap<string, { readonly name: string; readonly base: string }> = new Map([
  ['a', { name: 'std::allocator', base: 'allocator' }],
  ['b', { name: 'std::basic_string', base: 'basic_string' }],
  ['s', { name: `std::basic_string<char, ${charTraits}, std::allocator<char> >`, base: 'basic_string' }],
  ['i', { name: `std::basic_istream<char, ${charTraits} >`, base: 'basic_istream' }],
  ['o', { name: `std::basic_ostream<char, ${charTraits} >`, base: 'basic_ostream' }],
  ['d', { name: `std::basic_iostream<char, ${charTraits} >`, base: 'basic_iostream' }],
]);

/** Operators: how they are written, and of how many operands in expressions. */
export const operators: ReadonlyMap<string, { readonly sign: string; readonly operands: number }> = new Map(
  (
    [
      ['aN', '&=', 2],
      ['aS', '=', 2],
      ['aa', '&&', 2],
      ['ad', '&', 1],
      ['an', '&', 2],
      ['aw', 'co_await', 1],
      ['cl', '()', 0],
      ['cm', ',', 2],
      ['co', '~', 1],
      ['dV', '/=', 2],
      ['da', 'delete[]', 1],
      ['de', '*', 1],
      ['dl', 'delete', 1],
      ['ds', '.*', 2],
      ['dt', '.', 2],
      ['dv', '/', 2],
      ['eO', '^=', 2],
      ['eo', '^', 2],
      ['eq', '==', 2],
      ['ge', '>=', 2],
      ['gt', '>', 2],
      ['ix', '[]', 2],
      ['lS', '<<=', 2],
      ['le', '<=', 2],
      ['ls', '<<', 2],
      ['lt', '<', 2],
      ['mI', '-=', 2],
      ['mL', '*=', 2],
      ['mi', '-', 2],
      ['ml', '*', 2],
      ['mm', '--', 1],
      ['na', 'new[]', 0],
      ['ne', '!=', 2],
      ['ng', '-', 1],
      ['nt', '!', 1],
      ['nw', 'new', 0],
      ['oR', '|=', 2],
      ['oo', '||', 2],
      ['or', '|', 2],
      ['pL', '+=', 2],
      ['pl', '+', 2],
      ['pm', '->*', 2],
      ['pp', '++', 1],
      ['ps', '+', 1],
      ['pt', '->', 2],
      ['qu', '?', 3],
      ['rM', '%=', 2],
      ['rS', '>>=', 2],
      ['rm', '%', 2],
      ['rs', '>>', 2],
      ['ss', '<=>', 2],
      ['tw', 'throw ', 1],
    ] as const
  ).map(([code, sign, operands]) => [code, { sign, operands }]),
);

/** Casts, which name a type and an expression. */
export const casts: ReadonlyMap<string, string> = new Map([
  ['cc', 'const_cast'],
  ['dc', 'dynamic_cast'],
  ['rc', 'reinterpret_cast'],
  ['sc', 'static_cast'],
]);
