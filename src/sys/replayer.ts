import { fromHex, toHex } from '../bytes/text.ts';
import { UsageError } from '../error.ts';
import type { Address, FfiBackend, SysArg } from './backend.ts';
import { Capture, PendingBuffers, sameBytes, type CapturedBuffer, type CapturedCall } from './captured-call.ts';
import { FakeMemory } from './fake-backend.ts';
import type { SyscallArch } from './syscall-table.ts';

/**
 * A backend that answers as a recorded one did, without a kernel: it expects the same calls with the same bytes in the
 * same order, and throws a {@link UsageError} `E_REPLAY` at the first that differs.
 */
export class Replayer implements FfiBackend {
  readonly name = 'replayer';
  readonly fake = true;
  readonly #arch: SyscallArch;
  readonly #calls: readonly CapturedCall[];
  readonly #pending = new PendingBuffers();
  readonly #memory = new FakeMemory();
  #next = 0;

  constructor(calls: readonly CapturedCall[], arch: SyscallArch) {
    this.#calls = calls;
    this.#arch = arch;
  }

  /** How many recorded calls have not been made yet. */
  get remaining(): number {
    return this.#calls.length - this.#next;
  }

  syscall(nr: number, args: readonly SysArg[]): number {
    const capture = new Capture(this.#arch, nr, args, this.#pending);
    this.#pending.clear();
    const made = capture.finish(0);
    const index = this.#next++;
    const recorded = this.#calls[index];
    const difference = recorded === undefined ? 'the recording has ended' : differ(made, recorded);
    if (recorded === undefined || difference !== null) {
      throw new UsageError({
        code: 'E_REPLAY',
        what: 'a system call differs from the recording',
        where: { call: index, name: made.name },
        why: difference ?? '',
      });
    }
    capture.restore(recorded);
    return recorded.result;
  }

  addressOf(bytes: Uint8Array): Address {
    const address = this.#memory.addressOf(bytes);
    this.#pending.note(address, bytes);
    return address;
  }

  view(address: Address, length: number): ArrayBuffer {
    return this.#memory.view(address, length);
  }
}

function differ(made: CapturedCall, recorded: CapturedCall): string | null {
  if (made.nr !== recorded.nr) return `${recorded.name} is next in the recording`;
  if (made.args.length !== recorded.args.length) return `${made.args.length} arguments, recorded ${recorded.args.length}`;
  for (const [i, arg] of made.args.entries()) {
    const other = recorded.args[i];
    if (typeof arg !== 'object' || arg === null || typeof other !== 'object' || other === null) {
      // An address may be given as number or bigint.
      const same =
        arg === other ||
        (arg !== null &&
          other !== null &&
          other !== undefined &&
          typeof arg !== 'object' &&
          typeof other !== 'object' &&
          BigInt(arg) === BigInt(other));
      if (!same) return `argument ${i} is ${describe(arg)}, recorded ${describe(other)}`;
    } else {
      const where = firstDifference(arg.before, other.before);
      if (where !== null) return `argument ${i} differs from byte ${where} on`;
    }
  }
  if (made.nested.length !== recorded.nested.length) return `${made.nested.length} nested buffers, recorded ${recorded.nested.length}`;
  for (const [i, buffer] of made.nested.entries()) {
    const where = firstDifference(buffer.before, recorded.nested[i]?.before ?? new Uint8Array());
    if (where !== null) return `nested buffer ${i} differs from byte ${where} on`;
  }
  return null;
}

function describe(arg: CapturedCall['args'][number] | undefined): string {
  if (arg === null || arg === undefined) return String(arg);
  return typeof arg === 'object' ? `a buffer of ${arg.before.length} bytes` : String(arg);
}

function firstDifference(a: Uint8Array, b: Uint8Array): number | null {
  if (sameBytes(a, b)) return null;
  for (let i = 0; i < Math.min(a.length, b.length); i++) if (a[i] !== b[i]) return i;
  return Math.min(a.length, b.length);
}

interface JsonBuffer {
  address: string;
  before: string;
  after?: string;
}
interface JsonCall {
  name: string;
  nr: number;
  args: (number | string | JsonBuffer | null)[];
  nested: JsonBuffer[];
  result: number;
}

function bufferToJson(buffer: CapturedBuffer): JsonBuffer {
  const { address, before, after } = buffer;
  return { address: String(address), before: toHex(before), ...(after === null ? {} : { after: toHex(after) }) };
}

function bufferFromJson(json: JsonBuffer): CapturedBuffer {
  return { address: BigInt(json.address), before: fromHex(json.before), after: json.after === undefined ? null : fromHex(json.after) };
}

/** A recording as JSON text: buffers are hex, addresses decimal strings. */
export function recordingToJson(calls: readonly CapturedCall[]): string {
  const json = calls.map((call): JsonCall => ({
    ...call,
    args: call.args.map((arg) =>
      typeof arg === 'object' && arg !== null ? bufferToJson(arg) : typeof arg === 'bigint' ? String(arg) : arg,
    ),
    nested: call.nested.map(bufferToJson),
  }));
  return JSON.stringify(json, null, 1);
}

/** Reads what {@link recordingToJson} wrote. */
export function recordingFromJson(text: string): CapturedCall[] {
  return (JSON.parse(text) as JsonCall[]).map((call) => ({
    ...call,
    args: call.args.map((arg) =>
      typeof arg === 'string' ? BigInt(arg) : typeof arg === 'object' && arg !== null ? bufferFromJson(arg) : arg,
    ),
    nested: call.nested.map(bufferFromJson),
  }));
}
