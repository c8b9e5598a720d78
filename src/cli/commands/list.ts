import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { commonOptions, outputOption, type Command } from '../command.ts';
import { builtinGadgets, findGadget } from '../gadget-files.ts';
import { jsonText } from '../json-text.ts';
import { parseOptions, usage } from '../options.ts';
import { printable } from '../../bytes/printable.ts';

const formats = ['columns', 'json'] as const;
const options = [outputOption(formats)];

/** `rawbpf list`: the built-in gadgets. */
export const listCommand: Command = {
  name: 'list',
  summary: 'list the built-in gadgets',
  usage: 'list [-o columns|json]',
  description: 'Lists the gadgets that come with rawbpf, with a line each. With json: one object a line, {name, description}.',
  options,
  examples: ['rawbpf list'],
  run({ args, stdout }) {
    const { options: given } = parseOptions(args, [...options, ...commonOptions]);
    if (given.operands.length > 0) throw usage('list takes no operand');
    const format = given.flag('json') ? 'json' : (given.choice('output', formats) ?? 'columns');
    const rows = builtinGadgets().map((name) => ({ name, description: descriptionOf(name) }));
    const width = Math.max(0, ...rows.map((row) => row.name.length));
    for (const row of rows) {
      stdout.write(format === 'json' ? `${jsonText(row)}\n` : `${row.name.padEnd(width)}  ${printable(row.description)}\n`);
    }
    return Promise.resolve(0);
  },
};

function descriptionOf(name: string): string {
  const { metadata } = findGadget(name);
  if (metadata === null) return '';
  const document: unknown = parse(readFileSync(metadata, 'utf8'));
  const description: unknown = typeof document === 'object' && document !== null ? Reflect.get(document, 'description') : '';
  return typeof description === 'string' ? description : '';
}
