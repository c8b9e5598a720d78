import { BPF_CMD } from '../bpf/uapi/cmd.gen.ts';
import { BPF_F } from '../bpf/uapi/flags.gen.ts';
import type { StructValues } from '../bytes/struct.ts';
import { BPF_ATTR, type BpfCommand } from './bpf-attr/index.ts';
import { SyscallError, type SyscallFailure } from './errno.ts';
import { explainPermission } from './permission.ts';
import type { Sys } from './sys.ts';

export type { BpfCommand } from './bpf-attr/index.ts';

/** What a bpf(2) call gave: its value or negative errno, and the attribute bytes, into which the kernel may have written. */
export interface BpfResult {
  readonly result: number;
  readonly attr: Uint8Array;
}

// Addresses inside an attribute keep nothing alive: this holds the buffers until the call has returned.
const pinned: StructValues[] = [];

/**
 * Makes a bpf(2) call; fields left out of `values` are zero, buffers given for pointer fields are passed by address.
 * Use it where the kernel writes into the attribute (`next_id`, `log_true_size`): {@link bpf} gives the result alone.
 */
export function bpfCall(sys: Sys, command: BpfCommand, given: StructValues): BpfResult {
  const values = sys.tokenFd === null ? given : withToken(sys.tokenFd, command, given);
  const attr = BPF_ATTR[command].encode(values, (bytes) => sys.addressOf(bytes));
  pinned.push(values);
  try {
    return { result: sys.call('bpf', BPF_CMD[command], attr, attr.length), attr };
  } finally {
    pinned.pop();
  }
}

const offloaded = new Set<StructValues>();

/**
 * Makes a bpf(2) call on another thread, for what it returns; null where the backend cannot. The promise gives null for a call
 * that failed: make it again for the reason.
 */
export function bpfOffload(sys: Sys, command: BpfCommand, given: StructValues): Promise<number | null> | null {
  const values = sys.tokenFd === null ? given : withToken(sys.tokenFd, command, given);
  const attr = BPF_ATTR[command].encode(values, (bytes) => sys.addressOf(bytes));
  const call = sys.offload('bpf', BPF_CMD[command], attr, attr.length);
  if (call === null) return null;
  offloaded.add(values);
  return call.then((result) => {
    offloaded.delete(values);
    return result;
  });
}

/** Where the commands that take a token take it (BPF_F_TOKEN_FD). */
const tokenFields: Readonly<Partial<Record<BpfCommand, readonly [flags: string, fd: string]>>> = {
  BPF_MAP_CREATE: ['map_flags', 'map_token_fd'],
  BPF_PROG_LOAD: ['prog_flags', 'prog_token_fd'],
  BPF_BTF_LOAD: ['btf_flags', 'btf_token_fd'],
};

function withToken(fd: number, command: BpfCommand, values: StructValues): StructValues {
  const fields = tokenFields[command];
  if (fields === undefined) return values;
  return { ...values, [fields[0]]: Number(values[fields[0]] ?? 0) | BPF_F.BPF_F_TOKEN_FD, [fields[1]]: fd };
}

/** Makes a bpf(2) call; returns its value (a new fd, 0) or the negative errno. */
export function bpf(sys: Sys, command: BpfCommand, values: StructValues): number {
  return bpfCall(sys, command, values).result;
}

/** The error for a bpf(2) call that failed; a refused permission is explained. */
export function bpfError(sys: Sys, command: BpfCommand, result: number, failure: SyscallFailure = {}): SyscallError {
  const probable = new SyscallError(`bpf(${command})`, result, failure);
  if (failure.next !== undefined || (probable.errnoName !== 'EPERM' && probable.errnoName !== 'EACCES')) return probable;
  const diagnosis = explainPermission(sys);
  if (diagnosis === null) return probable;
  return new SyscallError(`bpf(${command})`, result, { ...failure, why: failure.why ?? diagnosis.why, next: diagnosis.next });
}

/** Makes a bpf(2) call and throws a {@link SyscallError} where it fails. */
export function bpfOrThrow(sys: Sys, command: BpfCommand, values: StructValues, failure?: SyscallFailure): number {
  const result = bpf(sys, command, values);
  if (result < 0) throw bpfError(sys, command, result, failure);
  return result;
}
