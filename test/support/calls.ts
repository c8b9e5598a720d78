import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** A program that makes system calls in unusual ways, see its source. */
export const callsPath: string = fileURLToPath(new URL('../../../fixtures/calls/calls', import.meta.url));
/** The same for programs of 32 bits. */
export const calls32Path: string = fileURLToPath(new URL('../../../fixtures/calls/calls32', import.meta.url));

/** A process that has ended. */
export interface Ended {
  readonly pid: number;
  readonly stdout: Buffer;
  readonly text: string;
  /** Clock of this machine before the process was started and after it has ended, milliseconds since 1970. */
  readonly from: number;
  readonly to: number;
}

/** Runs a program to its end. */
export async function runProgram(path: string, args: readonly string[], cwd = '/tmp'): Promise<Ended> {
  const from = Date.now();
  const child = spawn(path, args, { cwd, stdio: ['ignore', 'pipe', 'inherit'] });
  const parts: Buffer[] = [];
  child.stdout.on('data', (part: Buffer) => parts.push(part));
  await once(child, 'close');
  const stdout = Buffer.concat(parts);
  return { pid: child.pid ?? 0, stdout, text: stdout.toString(), from, to: Date.now() };
}
