/** Words that C (with GNU extensions, as clang and gcc have them by default) does not take as a name. */
const keywords: ReadonlySet<string> = new Set(
  (
    'auto break case char const continue default do double else enum extern float for goto if inline int long register restrict ' +
    'return short signed sizeof static struct switch typedef union unsigned void volatile while asm typeof ' +
    '_Alignas _Alignof _Atomic _BitInt _Bool _Complex _Decimal128 _Decimal32 _Decimal64 _Float16 _Float128 _Generic _Imaginary ' +
    '_Noreturn _Static_assert _Thread_local __alignof __alignof__ __asm __asm__ __attribute __attribute__ __auto_type __bf16 ' +
    '__builtin_offsetof __builtin_va_arg __builtin_va_list __complex __complex__ __const __const__ __extension__ __float128 ' +
    '__func__ __imag __imag__ __inline __inline__ __int128 __label__ __real __real__ __restrict __restrict__ __signed ' +
    '__signed__ __thread __typeof __typeof__ __volatile __volatile__'
  ).split(' '),
);
// Most names are told from keywords by length and first letter, without making a string of them.
const keywordHints = new Uint8Array(32 * 128);
for (const word of keywords) keywordHints[word.length * 128 + word.charCodeAt(0)] = 1;

/** 1 for letters, digits, underscore and dollar. */
export const isIdentifierByte: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) =>
  /[\w$]/.test(String.fromCharCode(byte)) ? 1 : 0,
);

/** True where a name of this length and first character is a keyword; `name` is asked for only where it may be. */
export function isKeyword(first: number, length: number, name: () => string): boolean {
  return length < 32 && keywordHints[length * 128 + (first & 127)] === 1 && keywords.has(name());
}

/**
 * A C identifier for a name of a BTF. Keywords get a trailing underscore; what is no identifier (Rust's and C++'s names,
 * anything a hostile file holds) has other characters replaced by underscores.
 */
export function toIdentifier(name: string): string {
  const clean = name.replace(/[^\w$]/g, '_');
  if (/^[0-9]/.test(clean) || clean === '') return `_${clean}`;
  return keywords.has(clean) ? `${clean}_` : clean;
}
