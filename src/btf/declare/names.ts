/** Words that TypeScript does not take as the name of a type. */
const reserved: ReadonlySet<string> = new Set(
  (
    'any as async await bigint boolean break case catch class const continue debugger default delete do else enum export extends ' +
    'false finally for function if implements import in infer instanceof interface intrinsic keyof let never new null number object ' +
    'of package private protected public readonly return static string super switch symbol this throw true try type typeof ' +
    'undefined unknown var void while with yield Array Uint8Array Record Events Maps Variables'
  ).split(' '),
);

/** Gives out names for types, each once. */
export class TypeNames {
  readonly #taken = new Set<string>(reserved);

  /** The name itself where it is free and an identifier, else one like it. */
  take(name: string): string {
    const clean = name.replace(/[^\w$]/g, '_').slice(0, 200);
    const wanted = clean === '' || /^[0-9]/.test(clean) ? `_${clean}` : clean;
    let free = wanted;
    for (let number = 2; this.#taken.has(free); number++) free = `${wanted}_${number}`;
    this.#taken.add(free);
    return free;
  }
}

/** A property's name, quoted where it is no identifier. */
export function propertyName(name: string): string {
  return /^[A-Za-z_$][\w$]*$/.test(name) ? name : JSON.stringify(name);
}

/** A JSDoc comment of some lines; nothing in them can end it. */
export function docComment(lines: readonly string[], indent: string): string {
  const safe = lines.map((line) =>
    // oxlint-disable-next-line no-control-regex
    line.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, ' ').replaceAll('*/', '*\\/'),
  );
  if (safe.length === 1) return `${indent}/** ${safe[0]} */\n`;
  return `${indent}/**\n${safe.map((line) => `${indent} * ${line}\n`).join('')}${indent} */\n`;
}
