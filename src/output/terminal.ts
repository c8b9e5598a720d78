/** Characters that change a terminal's state or the order of what it shows: controls, format characters, line separators. */
const hostile = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;
// oxlint-disable-next-line no-control-regex
const plainAscii = /^[\u0020-\u007e]*$/;
const zeroWidth = /^[\p{Mn}\p{Me}]$/u;

const named: ReadonlyMap<string, string> = new Map([
  ['\n', '\\n'],
  ['\r', '\\r'],
  ['\t', '\\t'],
]);

/** Text that is safe to show: control and format characters written out (`\n`, `\x1b`, `\u202e`), lone surrogates as U+FFFD. */
export function safeText(text: string): string {
  if (plainAscii.test(text)) return text;
  return text.replace(hostile, (character) => {
    const code = character.codePointAt(0) ?? 0;
    if (code >= 0xd800 && code < 0xe000) return '\ufffd';
    const hex = code.toString(16);
    return (
      named.get(character) ?? (code < 0x100 ? `\\x${hex.padStart(2, '0')}` : code < 0x10000 ? `\\u${hex.padStart(4, '0')}` : `\\u{${hex}}`)
    );
  });
}

/** First and last code points of the characters that take two columns (Unicode's East Asian Width W and F, in coarse blocks). */
const wide: readonly (readonly [number, number])[] = [
  [0x1100, 0x115f],
  [0x231a, 0x231b],
  [0x2e80, 0x303e],
  [0x3041, 0x33ff],
  [0x3400, 0x4dbf],
  [0x4e00, 0x9fff],
  [0xa000, 0xa4cf],
  [0xa960, 0xa97f],
  [0xac00, 0xd7a3],
  [0xf900, 0xfaff],
  [0xfe30, 0xfe6f],
  [0xff00, 0xff60],
  [0xffe0, 0xffe6],
  [0x1f300, 0x1f64f],
  [0x1f680, 0x1f6ff],
  [0x1f900, 0x1f9ff],
  [0x20000, 0x3fffd],
];

/** Columns that safe text takes on a terminal. */
export function displayWidth(text: string): number {
  if (plainAscii.test(text)) return text.length;
  let width = 0;
  for (const character of text) width += characterWidth(character);
  return width;
}

function characterWidth(character: string): number {
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x300) return 1;
  if (zeroWidth.test(character)) return 0;
  return wide.some(([first, last]) => code >= first && code <= last) ? 2 : 1;
}

/** Where a text that does not fit is cut. */
export type Ellipsis = 'end' | 'middle' | 'start' | 'none';

/** Cuts text to a number of columns; `…` stands for what is missing, at the place asked for. */
export function cut(text: string, width: number, ellipsis: Ellipsis): string {
  if (displayWidth(text) <= width) return text;
  if (width <= 0) return '';
  if (ellipsis === 'none') return head(text, width);
  if (width === 1) return '…';
  switch (ellipsis) {
    case 'start':
      return `…${tail(text, width - 1)}`;
    case 'middle': {
      const first = Math.floor((width - 1) / 2);
      return `${head(text, first)}…${tail(text, width - 1 - first)}`;
    }
    default:
      return `${head(text, width - 1)}…`;
  }
}

function head(text: string, width: number): string {
  let taken = '';
  let used = 0;
  for (const character of text) {
    used += characterWidth(character);
    if (used > width) break;
    taken += character;
  }
  return taken;
}

function tail(text: string, width: number): string {
  const characters = Array.from(text);
  let used = 0;
  let start = characters.length;
  while (start > 0 && used + characterWidth(characters[start - 1] as string) <= width)
    used += characterWidth(characters[--start] as string);
  return characters.slice(start).join('');
}
