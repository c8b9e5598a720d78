import { BTF_INT } from '../../types.ts';

/** How an INT or FLOAT is written in C. */
export interface ScalarSpelling {
  readonly text: string;
  /** Bytes, in the C that is written: of clang's BPF target. */
  readonly align: number;
}

const words = new Set(['char', 'short', 'int', 'long', 'signed', 'unsigned', '__int128', '_Bool']);

/** Spells an INT: by its own name where that is C and has its size, else by size and encoding. */
export function spellInt(name: string, size: number, encoding: number, pointerSize: number): ScalarSpelling {
  if (cSizeOf(name, pointerSize) === size) return { text: name, align: size };
  if ((encoding & BTF_INT.BOOL) !== 0 && size === 1) return { text: '_Bool', align: 1 };
  const unsigned = (encoding & BTF_INT.SIGNED) === 0;
  switch (size) {
    case 1:
      return { text: unsigned ? 'unsigned char' : 'signed char', align: 1 };
    case 2:
      return { text: unsigned ? 'unsigned short' : 'short', align: 2 };
    case 4:
      return { text: unsigned ? 'unsigned int' : 'int', align: 4 };
    case 8:
      return { text: unsigned ? 'unsigned long long' : 'long long', align: 8 };
    case 16:
      return { text: unsigned ? 'unsigned __int128' : '__int128', align: 16 };
    default:
      return opaque(size);
  }
}

/** Spells a FLOAT. Only float and double have the same size everywhere: `long double` has 8 bytes in BPF and 16 in the kernel. */
export function spellFloat(size: number): ScalarSpelling {
  if (size === 4) return { text: 'float', align: 4 };
  if (size === 8) return { text: 'double', align: 8 };
  return opaque(size);
}

function opaque(size: number): ScalarSpelling {
  return { text: `struct {\n\tunsigned char bytes[${size}];\n}`, align: 1 };
}

/** Size of an integer type by its spelling (`long unsigned int`, `unsigned long`, ...); 0 where it is none. */
function cSizeOf(name: string, pointerSize: number): number {
  const parts = name.split(' ');
  if (!parts.every((part) => words.has(part))) return 0;
  const has = (word: string): boolean => parts.includes(word);
  if (has('_Bool')) return parts.length === 1 ? 1 : 0;
  if (has('__int128')) return 16;
  if (has('char')) return 1;
  if (has('short')) return 2;
  const longs = parts.filter((part) => part === 'long').length;
  if (longs === 0) return 4;
  return longs === 1 ? pointerSize : 8;
}
