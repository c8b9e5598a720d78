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
// Most names are told from keywords by length and first letter, without hashing them.
const keywordHints = new Uint8Array(32 * 128);
for (const word of keywords) keywordHints[word.length * 128 + word.charCodeAt(0)] = 1;

const pattern = /^[A-Za-z_$][\w$]*$/;

/**
 * A C identifier for a name of a BTF: nearly always the name itself. Keywords get a trailing underscore; what is no
 * identifier (Rust's and C++'s names, anything a hostile file holds) has other characters replaced by underscores.
 */
export function toIdentifier(name: string): string {
  if (pattern.test(name)) return isKeyword(name) ? `${name}_` : name;
  const clean = name.replace(/[^\w$]/g, '_').slice(0, 256);
  return /^[0-9]/.test(clean) || clean === '' ? `_${clean}` : clean;
}

function isKeyword(name: string): boolean {
  const { length } = name;
  return length < 32 && keywordHints[length * 128 + name.charCodeAt(0)] === 1 && keywords.has(name);
}

/** Tags (of structs, unions and enums) have a kind: a name that is a struct's can't be a union's too. */
export type TagKind = 'struct' | 'union' | 'enum';

interface Tag {
  readonly kind: TagKind;
  defined: boolean;
}

/** Gives out names of C's two name spaces at file scope; a name asked for again gets a `___2`, as a CO-RE flavour. */
export class NameSpaces {
  readonly #tags = new Map<string, Tag>();
  readonly #identifiers = new Map<string, number>();

  /** A tag for a definition: shared with forward declarations of the same kind and name. */
  defineTag(name: string, kind: TagKind): string {
    const wanted = toIdentifier(name);
    const known = this.#tags.get(wanted);
    if (known !== undefined && known.kind === kind && !known.defined) {
      known.defined = true;
      return wanted;
    }
    return this.#newTag(wanted, kind, true);
  }

  /** A tag that is only declared. */
  declareTag(name: string, kind: TagKind): string {
    const wanted = toIdentifier(name);
    return this.#tags.get(wanted)?.kind === kind ? wanted : this.#newTag(wanted, kind, false);
  }

  /** A name for a typedef, an enumerator or a function. */
  identifier(name: string): string {
    const wanted = toIdentifier(name);
    const known = this.#identifiers.get(wanted);
    if (known === undefined) {
      this.#identifiers.set(wanted, 1);
      return wanted;
    }
    let number = known + 1;
    while (this.#identifiers.has(`${wanted}___${number}`)) number++;
    this.#identifiers.set(wanted, number);
    this.#identifiers.set(`${wanted}___${number}`, 1);
    return `${wanted}___${number}`;
  }

  #newTag(wanted: string, kind: TagKind, defined: boolean): string {
    let tag = wanted;
    for (let number = 2; this.#tags.has(tag); number++) tag = `${wanted}___${number}`;
    this.#tags.set(tag, { kind, defined });
    return tag;
  }
}
