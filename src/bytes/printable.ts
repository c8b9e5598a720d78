const controls = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** Text on one line that steers no terminal: control and format characters of names out of files written as `\x1b`, `\u202e` or `\u{e0001}`. */
export function printable(text: string): string {
  return text.replace(controls, (character) => {
    const hex = (character.codePointAt(0) ?? 0).toString(16);
    if (hex.length <= 2) return `\\x${hex.padStart(2, '0')}`;
    return hex.length <= 4 ? `\\u${hex.padStart(4, '0')}` : `\\u{${hex}}`;
  });
}

/** The same for text of several lines: line feeds and tabs stay. */
export function printableLines(text: string): string {
  return text.replace(/[^\n\t]+/g, printable);
}

/** JSON text without DEL and C1, which JSON.stringify leaves raw: a terminal takes U+009B for ESC [. */
export function safeJson(text: string): string {
  return text.replace(/[\u007f-\u009f]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
