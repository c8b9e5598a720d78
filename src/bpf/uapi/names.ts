/** A table of kernel constants, such as `BPF_MAP_TYPE`. */
export type ConstantTable = Readonly<Record<string, number>>;

const namesByTable = new WeakMap<ConstantTable, ReadonlyMap<number, string>>();

function namesIn(table: ConstantTable): ReadonlyMap<number, string> {
  let names = namesByTable.get(table);
  if (names === undefined) {
    const made = new Map<number, string>();
    for (const [name, value] of Object.entries(table)) {
      // Where the kernel gives a number two names, the first counts, unless it was renamed to ..._DEPRECATED.
      const known = made.get(value);
      if (known === undefined || known.endsWith('_DEPRECATED')) made.set(value, name);
    }
    names = made;
    namesByTable.set(table, names);
  }
  return names;
}

/**
 * The kernel's name of a number, or null where the table has none (a newer kernel's).
 *
 * @example
 * import { BPF_PROG_TYPE, nameOf } from 'rawbpf/insn';
 * console.log(nameOf(BPF_PROG_TYPE, 5)); // BPF_PROG_TYPE_TRACEPOINT
 */
export function nameOf(table: ConstantTable, value: number): string | null {
  return namesIn(table).get(value) ?? null;
}

/** The number of a name, or null where the table has none; safe for names that come out of files. */
export function valueOf(table: ConstantTable, name: string): number | null {
  return Object.hasOwn(table, name) ? (table[name] ?? null) : null;
}
