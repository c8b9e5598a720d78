import { readFileSync } from 'node:fs';
import { didYouMean } from '../bytes/suggest.ts';
import { RawbpfError, UsageError } from '../error.ts';
import type { Command, CommandContext } from './command.ts';
import { commandHelp, programHelp } from './help.ts';
import { printable, printableLines } from '../bytes/printable.ts';
import { StandardOutput } from './standard-output.ts';

/** Commands by name, each loaded only when it is used: `rawbpf list` needs no FFI. */
const commands: ReadonlyMap<string, () => Promise<Command>> = new Map([
  ['run', async () => (await import('./commands/run.ts')).runCommand],
  ['link', async () => (await import('./commands/link.ts')).linkCommand],
  ['loader', async () => (await import('./commands/loader.ts')).loaderCommand],
  ['links', async () => (await import('./commands/links.ts')).linksCommand],
  ['types', async () => (await import('./commands/types.ts')).typesCommand],
  ['features', async () => (await import('./commands/features.ts')).featuresCommand],
  ['list', async () => (await import('./commands/list.ts')).listCommand],
  ['list-containers', async () => (await import('./commands/list-containers.ts')).listContainersCommand],
  ['check', async () => (await import('./commands/check.ts')).checkCommand],
  ['inspect', async () => (await import('./commands/inspect.ts')).inspectCommand],
  ['btf', async () => (await import('./commands/btf.ts')).btfCommand],
]);

/** Codes of errors in what was typed: a flag, or the value of one. */
const mistyped: ReadonlySet<string> = new Set([
  'E_USAGE',
  'E_PARAM',
  'E_PACKET_FILTER',
  'E_FIELD',
  'E_FILTER',
  'E_SORT',
  'E_CONTAINER_FILTER',
  'E_BUFFER_SIZE',
]);

/** Runs the `rawbpf` program with these arguments and leaves its exit code in `process.exitCode`. */
export async function main(args: readonly string[]): Promise<void> {
  const streams = lasting.has(args[0] ?? '');
  const stdout = streams ? outputStream() : new StandardOutput(1, outputStream, cannotWrite);
  const stderr = streams ? errorStream() : new StandardOutput(2, errorStream, () => {});
  process.exitCode = await runProgram({ args, stdout, stderr });
}

/** Commands that may go on for long: nothing else waits for whoever reads what they write. */
const lasting: ReadonlySet<string> = new Set(['run', 'list-containers']);

function outputStream(): NodeJS.WriteStream {
  return process.stdout.on('error', cannotWrite);
}

function errorStream(): NodeJS.WriteStream {
  // Nobody hears notices any more: events go on.
  return process.stderr.on('error', () => {});
}

/** A reader that goes away (`| head`) ends the program; it is no error of ours. */
function cannotWrite(error: NodeJS.ErrnoException): never {
  if (error.code === 'EPIPE') process.exit(0);
  process.stderr.write(`rawbpf: cannot write to stdout: ${error.message}\n`);
  process.exit(1);
}

/** Finds the command, runs it, and turns errors into a sentence and an exit code. */
export async function runProgram(context: CommandContext): Promise<number> {
  const [name, ...args] = context.args;
  try {
    if (name === undefined || name === 'help' || name === '--help' || name === '-h') return await help(args, context, name === undefined);
    if (name === '--version' || name === '-V' || name === 'version') {
      context.stdout.write(`${version()}\n`);
      return 0;
    }
    const load = commands.get(name);
    if (load === undefined) {
      throw new UsageError({
        code: 'E_USAGE',
        what: `unknown command ${printable(name)}`,
        next: didYouMean(name, commands.keys()) || 'see rawbpf --help',
      });
    }
    const command = await load();
    const end = args.indexOf('--');
    const flags = end < 0 ? args : args.slice(0, end);
    if (command.name !== 'run' && flags.some((flag) => /^(?:-h|--help(?:=(?!false$).*)?)$/s.test(flag))) {
      context.stdout.write(commandHelp(command));
      return 0;
    }
    return await command.run({ ...context, args });
  } catch (error) {
    context.stderr.write(`rawbpf: ${errorText(error, args.includes('--debug'))}\n`);
    return error instanceof UsageError && mistyped.has(error.code) ? 2 : 1;
  }
}

/** An error as shown to a person: its message, and its stack where it is a defect of ours or was asked for. */
export function errorText(error: unknown, debug = false): string {
  if (error instanceof RawbpfError && !debug) return printableLines(error.message);
  return printableLines(error instanceof Error ? (error.stack ?? error.message) : String(error));
}

async function help(args: readonly string[], context: CommandContext, wasEmpty: boolean): Promise<number> {
  const load = args[0] === undefined ? undefined : commands.get(args[0]);
  const text =
    load === undefined ? programHelp(await Promise.all([...commands.values()].map((each) => each()))) : commandHelp(await load());
  (wasEmpty ? context.stderr : context.stdout).write(text);
  return wasEmpty ? 2 : 0;
}

/** The package's version. */
export function version(): string {
  const manifest: { version: string } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'));
  return manifest.version;
}
