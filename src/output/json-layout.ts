import type { FieldNode } from '../gadget/tree.ts';

/** Fields in the order of their names' bytes, without those that JSON leaves out and structs that have none left. */
export function sortedNodes(nodes: readonly FieldNode[]): readonly FieldNode[] {
  return nodes.filter(isShown).toSorted((a, b) => Buffer.compare(Buffer.from(a.field.leaf), Buffer.from(b.field.leaf)));
}

function isShown({ field, children }: FieldNode): boolean {
  return !field.skippedInJson && (field.slot !== null || children.some(isShown));
}

/** The same JSON with two spaces of indentation a level; numbers keep all their digits. */
export function indentJson(json: string): string {
  let text = '';
  let depth = 0;
  let start = 0;
  const line = (): string => `\n${'  '.repeat(depth)}`;
  for (let i = 0; i < json.length; i++) {
    const character = json[i] as string;
    if (character === '"') {
      for (i++; json[i] !== '"'; i++) if (json[i] === '\\') i++;
      continue;
    }
    if (!'{}[],:'.includes(character)) continue;
    text += json.slice(start, i);
    start = i + 1;
    if (character === '{' || character === '[') {
      if (json[i + 1] === '}' || json[i + 1] === ']') {
        text += character + (json[++i] as string);
        start = i + 1;
      } else {
        depth++;
        text += character + line();
      }
    } else if (character === '}' || character === ']') {
      depth--;
      text += line() + character;
    } else text += character === ':' ? ': ' : character + line();
  }
  return text + json.slice(start);
}
