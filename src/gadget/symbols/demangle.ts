import { demangleCpp } from './cpp/demangle.ts';
import { demangleRust } from './rust-name.ts';

/**
 * The name that a programmer gave a function, of what compilers of C++ and Rust (its older scheme, "legacy", and v0) made of it,
 * without parameters: `_ZN3foo3barEi` is `foo::bar`, `_ZNSt6vectorIiSaIiEE5clearEv` is
 * `std::vector<int, std::allocator<int> >::clear`. What is not understood is given as it is.
 *
 * Source: the Itanium C++ ABI, 5.1; rustc's symbol-mangling documentation.
 */
export function demangle(name: string): string {
  if (name.length > maxLength || !/^_[ZR]/.test(name)) return name;
  // What a compiler split off, such as `.cold`, has its origin's name.
  const dot = name.search(/\.(?:cold|part|constprop|isra|llvm|lto_priv)\b/);
  const whole = dot < 0 ? name : name.slice(0, dot);
  return (whole.startsWith('_R') ? demangleRust(whole) : (legacyRust(whole) ?? demangleCpp(whole))) ?? name;
}

const maxLength = 4096;

/** Rust's older scheme: names in a nested name of C++, the last of them a hash; null for another name. */
function legacyRust(mangled: string): string | null {
  if (!/17h[0-9a-f]{16}E$/.test(mangled) || !mangled.startsWith('_ZN')) return null;
  const parts: string[] = [];
  let at = 3;
  while (mangled[at] !== 'E') {
    const digits = /^[1-9]\d{0,3}/.exec(mangled.slice(at, at + 4))?.[0];
    if (digits === undefined) return null;
    at += digits.length;
    parts.push(mangled.slice(at, at + Number(digits)));
    at += Number(digits);
    if (at >= mangled.length) return null;
  }
  return parts.length > 1 && at === mangled.length - 1 ? parts.slice(0, -1).map(plainRust).join('::') : null;
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
