const why = 'lists or maps are nested too deep';

/** Why YAML must not be given to the parser, and from which line on; null where nothing speaks against it. */
export function yamlTooDeep(text: string): { readonly line: number; readonly why: string } | null {
  // Hundreds of lists or maps that one line begins: the parser takes more than the square of their number, 20,000 of them minutes.
  const at = text.search(/(?:[-?:][ \t]+){200}/);
  return at === -1 ? null : { line: text.slice(0, at).split('\n').length, why };
}

/** What the parser says, but for what is nested deeper than its stack: there it has the engine's words. */
export function yamlReason({ message }: { readonly message: string }): string {
  return /maximum call stack|too much recursion/i.test(message) ? why : message;
}
