/**
 * The name that a programmer gave a function, of what compilers of Rust (its older scheme, "legacy") and C++ made of it,
 * without parameters: `_ZN3foo3barEi` is `foo::bar`. Of C++ those names are read that have neither templates, nor operators, nor
 * references back to what was said before; all others, and Rust's `_R...`, are given as they are.
 *
 * Source: the Itanium C++ ABI, 5.1; rustc's symbol-mangling documentation.
 */
export function demangle(name: string): string {
  if (!name.startsWith('_Z') || name.length > maxLength) return name;
  // What a compiler split off, such as `.cold`, has its origin's name.
  const dot = name.search(/\.(?:cold|part|constprop|isra|llvm)\b/);
  const parts = partsOf(dot < 0 ? name : name.slice(0, dot));
  if (parts === null) return name;
  const isRust = parts.length > 1 && /^h[0-9a-f]{16}$/.test(parts.at(-1) ?? '');
  return (isRust ? parts.slice(0, -1).map(plainRust) : parts).join('::');
}

const maxLength = 4096;

/** The names in a nested name or before parameters; null for what is not understood. */
function partsOf(mangled: string): string[] | null {
  const isNested = mangled[2] === 'N';
  // r, V, K: restrict, volatile, const; R, O: what kind of reference it is called on.
  let at = isNested ? 3 + (/^[rVK]*[RO]?/.exec(mangled.slice(3))?.[0].length ?? 0) : 2;
  const parts: string[] = [];
  for (;;) {
    const rest = mangled.slice(at, at + 10);
    const [digits] = /^[1-9]\d{0,3}/.exec(rest) ?? [];
    if (digits !== undefined) {
      const part = mangled.slice(at + digits.length, at + digits.length + Number(digits));
      if (part.length < Number(digits)) return null;
      parts.push(part.startsWith('_GLOBAL__N_') ? '(anonymous namespace)' : part);
      at += digits.length + part.length;
      if (!isNested && parts.at(-1) !== 'std') break;
    } else if (rest.startsWith('St') && parts.length === 0) {
      parts.push('std');
      at += 2;
    } else if (isNested && /^[CD][0-5]/.test(rest) && parts.length > 0) {
      parts.push(`${rest.startsWith('D') ? '~' : ''}${parts.at(-1)}`);
      at += 2;
    } else break;
  }
  if (parts.length === 0) return null;
  if (isNested && mangled[at++] !== 'E') return null;
  // Template arguments and ABI tags belong to the name.
  return mangled[at] === 'I' || mangled[at] === 'B' ? null : parts;
}

const rustEscapes: Readonly<Record<string, string>> = {
  SP: '@',
  BP: '*',
  RF: '&',
  LT: '<',
  GT: '>',
  LP: '(',
  RP: ')',
  C: ',',
};

function plainRust(part: string): string {
  return part
    .replace(/^_(?=\$)/, '')
    .replaceAll('..', '::')
    .replace(/\$(SP|BP|RF|LT|GT|LP|RP|C|u[0-9a-f]{2,6})\$/g, (all, escape: string) => {
      const known = rustEscapes[escape];
      if (known !== undefined) return known;
      const code = Number.parseInt(escape.slice(1), 16);
      return code >= 0x20 && code !== 0x7f && code <= 0x10ffff ? String.fromCodePoint(code) : all;
    });
}
