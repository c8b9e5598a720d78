import { printable } from '../bytes/printable.ts';
import type { Command } from './command.ts';
import { commonOptions } from './command.ts';
import type { OptionSpec } from './options.ts';

/** The help text of one command. */
export function commandHelp(command: Command, extra: readonly OptionSpec[] = []): string {
  const sections = [
    `Usage: rawbpf ${command.usage}`,
    command.description,
    `Options:\n${optionRows([...command.options, ...commonOptions])}`,
  ];
  if (extra.length > 0) sections.push(`Parameters of this gadget:\n${optionRows(extra)}`);
  if (command.examples.length > 0) sections.push(`Examples:\n${command.examples.map((line) => `  ${line}`).join('\n')}`);
  return `${sections.join('\n\n')}\n`;
}

/** The help text of the program. */
export function programHelp(commands: readonly Command[]): string {
  const width = Math.max(...commands.map((command) => command.name.length));
  const rows = commands.map((command) => `  ${command.name.padEnd(width)}  ${command.summary}`);
  return [
    'rawbpf: eBPF for Node with nothing native of its own',
    'Usage: rawbpf COMMAND [flags]',
    `Commands:\n${rows.join('\n')}`,
    'Every command has --help. Data goes to stdout, notices and errors to stderr.\nExit code: 0 all well, 1 it failed, 2 it was typed wrong.',
  ]
    .join('\n\n')
    .concat('\n');
}

function optionRows(specs: readonly OptionSpec[]): string {
  // Those of a gadget are what its gadget.yaml says.
  const left = specs.map(({ name, short, value }) =>
    printable(`${short === undefined ? '    ' : `-${short}, `}--${name}${value === undefined ? '' : ` ${value}`}`),
  );
  const width = Math.min(32, Math.max(...left.map((text) => text.length)));
  return specs.map((spec, i) => `  ${(left[i] ?? '').padEnd(width)}  ${printable(spec.help)}`).join('\n');
}
