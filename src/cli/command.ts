import type { OptionSpec } from './options.ts';

/** Where a command writes; bytes are UTF-8. */
export interface TextTarget {
  write(text: string | Uint8Array): unknown;
}

/** What a command gets: its arguments, and where to write. */
export interface CommandContext {
  readonly args: readonly string[];
  readonly stdout: TextTarget;
  readonly stderr: TextTarget;
}

/** A command of the `rawbpf` program. */
export interface Command {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** How it is typed, without `rawbpf`: `check OBJECT... [flags]`. */
  readonly usage: string;
  /** Some lines on what it does, for `--help`. */
  readonly description: string;
  readonly options: readonly OptionSpec[];
  readonly examples: readonly string[];
  /** Runs the command; resolves with the exit code: 0 all well, 1 it failed, 2 it was typed wrong. */
  run(context: CommandContext): Promise<number>;
}

/** Options that every command has. */
export const commonOptions: readonly OptionSpec[] = [
  { name: 'json', help: 'the same as -o json' },
  { name: 'help', short: 'h', help: 'show this help' },
  { name: 'debug', help: 'show the stack of errors' },
];

/** `-o FORMAT` with the formats of one command, the first being the default. */
export function outputOption(formats: readonly string[]): OptionSpec {
  return { name: 'output', short: 'o', value: 'FORMAT', help: `${formats.join(', ')} (default ${formats[0] ?? ''})` };
}
