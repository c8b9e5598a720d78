import { printable } from '../bytes/printable.ts';

/** Cells in columns, numbers to the right; control characters are escaped. */
export function table(head: readonly string[], rows: readonly (readonly (string | number | bigint | null)[])[]): string {
  const texts = rows.map((row) => row.map((cell) => printable(String(cell ?? '-'))));
  const numeric = head.map((_, i) => rows.every((row) => typeof row[i] === 'number' || typeof row[i] === 'bigint'));
  const widths = head.map((title, i) => texts.reduce((width, row) => Math.max(width, row[i]?.length ?? 0), title.length));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => (numeric[i] === true ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
      .join('  ')
      .trimEnd();
  return [head, ...texts].map((cells) => `  ${line(cells)}\n`).join('');
}
