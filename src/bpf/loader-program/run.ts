import { cString, toCString } from '../../bytes/text.ts';
import { RawbpfError } from '../../error.ts';
import { bpf, bpfError } from '../../sys/bpf.ts';
import { errnoName, isErrno } from '../../sys/errno.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { keepAlive } from '../kernel/keep-alive.ts';
import { createMap } from '../map/create.ts';
import { BpfMap } from '../map/map.ts';
import { type Attempt, attemptLoad } from '../program/attempt.ts';
import { programDigest } from '../program/digest.ts';
import { BpfProgram } from '../program/program.ts';
import { testRun } from '../program/test-run.ts';
import { BPF_F } from '../uapi/flags.gen.ts';
import { BPF_PROG_TYPE } from '../uapi/prog-type.gen.ts';
import { UndoList, undoOnError } from '../undo.ts';
import { contextHead, type LoaderProgram } from './make.ts';

/** What a loader program made: the maps and programs of its object, in the hands of this process. */
export interface LoadedByLoader {
  readonly maps: ReadonlyMap<string, BpfMap>;
  readonly programs: ReadonlyMap<string, BpfProgram>;
  close(): void;
}

export interface RunLoaderOptions {
  /** A PKCS #7 signature over the loader's instructions ({@link signLoader}), which the kernel checks (Linux 6.18). */
  readonly signature?: Uint8Array;
  /** The one over instructions and data, which Linux 7.3 wants instead; of both the kernel at hand gets the one it checks. */
  readonly dataSignature?: Uint8Array;
  /** The keyring that its certificate is in: a key's serial number, -3 for the session's (the default), 0 for the kernel's own. */
  readonly keyring?: number;
}

const SESSION_KEYRING = -3;
const zeroKey = new Uint8Array(4);
/** Room for what the verifier says about one program. */
const logSize = 1 << 24;

/**
 * Loads a loader program, runs it once and takes over what it made (Linux 5.14). Where it fails nothing of it stays. Throws
 * SyscallError where the kernel refuses the loader (its signature among the reasons), RawbpfError `E_LOADER_RUN` with the
 * verifier's log where what it loads is refused.
 */
export function runLoader(kernel: Kernel, loader: LoaderProgram, options: RunLoaderOptions = {}): LoadedByLoader {
  const own = new UndoList();
  try {
    const data = own.own(dataMap(kernel, loader, options));
    const program = own.own(loadLoader(kernel, loader, data, options));
    return takeOver(kernel, loader, (context) => testRun(program, { context }).context, attempt(program, loader));
  } finally {
    own.undo();
  }
}

function dataMap(kernel: Kernel, loader: LoaderProgram, options: RunLoaderOptions): BpfMap {
  const shape = { name: '__loader.map', type: 'BPF_MAP_TYPE_ARRAY', keySize: 4, valueSize: loader.data.length, maxEntries: 1 } as const;
  const isSigned = options.signature !== undefined || options.dataSignature !== undefined || loader.hashSlots.length > 0;
  const map = createMap(kernel, { ...shape, ...(isSigned ? { exclusiveHash: programDigest(loader.insns) } : {}) });
  return undoOnError((undo) => {
    undo.own(map);
    map.update(zeroKey, loader.data);
    if (isSigned) {
      map.freeze();
      askForHash(kernel, map);
    }
    return map;
  });
}

/** The kernel works the hash of a frozen map out when it is asked for it, and keeps it where the loader looks. */
function askForHash(kernel: Kernel, map: BpfMap): void {
  // struct bpf_map_info: hash (address) and hash_size stand behind map_extra.
  const hash = new Uint8Array(32);
  const info = new Uint8Array(104);
  new DataView(info.buffer).setBigUint64(88, kernel.sys.addressOf(hash), true);
  new DataView(info.buffer).setUint32(96, hash.length, true);
  const result = bpf(kernel.sys, 'BPF_OBJ_GET_INFO_BY_FD', { bpf_fd: map.fd, info, info_len: info.length });
  keepAlive(hash);
  if (result < 0) {
    throw bpfError(kernel.sys, 'BPF_OBJ_GET_INFO_BY_FD', result, {
      what: 'the kernel does not tell the hash of a map',
      why: 'signed loader programs came with Linux 6.18',
    });
  }
}

function loadLoader(kernel: Kernel, loader: LoaderProgram, data: BpfMap, options: RunLoaderOptions): BpfProgram {
  const { signature, dataSignature } = options;
  const isSigned = signature !== undefined || dataSignature !== undefined;
  const attr = {
    prog_type: BPF_PROG_TYPE.BPF_PROG_TYPE_SYSCALL,
    insns: loader.insns,
    insn_cnt: loader.insns.length / 8,
    license: toCString('Dual BSD/GPL'),
    prog_flags: BPF_F.BPF_F_SLEEPABLE,
    prog_name: '__loader.prog',
    fd_array: new Uint8Array(Int32Array.of(data.fd).buffer),
  };
  const by = (bytes: Uint8Array) => ({
    ...attr,
    signature: bytes,
    signature_size: bytes.length,
    keyring_id: options.keyring ?? SESSION_KEYRING,
  });
  let loaded: Attempt | null = null;
  // Linux 7.3: the maps of fd_array, up to fd_array_cnt, are signed with the instructions.
  if (dataSignature !== undefined) loaded = attemptLoad(kernel, { ...by(dataSignature), fd_array_cnt: 1 }, 0);
  if (signature !== undefined && (loaded === null || isErrno(loaded.result, 'EKEYREJECTED'))) {
    const other = attemptLoad(kernel, by(signature), 0);
    // EACCES: this kernel wants the other one, which it has refused.
    if (loaded === null || !isErrno(other.result, 'EACCES')) loaded = other;
  }
  loaded ??= attemptLoad(kernel, attr, 0);
  if (loaded.result < 0 && !isSigned) loaded = attemptLoad(kernel, attr, 1);
  if (loaded.result < 0) {
    throw bpfError(kernel.sys, 'BPF_PROG_LOAD', loaded.result, {
      what: !isSigned ? 'the kernel refused the loader program' : 'the kernel refused the signed loader program',
      why: refusal(loaded.result, isSigned, loaded.log),
    });
  }
  const shape = { name: '__loader.prog', type: attr.prog_type, expectedAttachType: 0, spec: null, linked: null, log: loaded.log };
  return new BpfProgram(kernel, loaded.result, shape);
}

function refusal(result: number, isSigned: boolean, log: string): string {
  if (!isSigned) return log.trim().split('\n').slice(-3).join('; ') || 'loader programs came with Linux 5.14';
  if (isErrno(result, 'ENOKEY')) return 'the keyring has no certificate that the signature is by';
  if (isErrno(result, 'EKEYREJECTED')) return 'the signature is not by that certificate, or not over this program';
  if (isErrno(result, 'EBADMSG')) return 'the signature is no PKCS #7 message';
  if (isErrno(result, 'EOPNOTSUPP')) return 'this kernel is built without CONFIG_SYSTEM_DATA_VERIFICATION';
  if (isErrno(result, 'EACCES')) return 'this kernel wants a signature over instructions and data: sign the object again';
  return 'signatures came with Linux 6.18; the keyring may not be there';
}

/** Runs it, and once more with a log where a program was refused. */
function attempt(program: BpfProgram, loader: LoaderProgram): (context: Uint8Array) => RawbpfError {
  return () => {
    const log = new Uint8Array(logSize);
    const context = newContext(loader);
    const view = new DataView(context.buffer);
    view.setUint32(contextHead.logLevel, 1, true);
    view.setUint32(contextHead.logSize, log.length, true);
    view.setBigUint64(contextHead.logBuffer, program.kernel.sys.addressOf(log), true);
    const { returnValue } = testRun(program, { context });
    keepAlive(log);
    const why = cString(log).trim();
    return new RawbpfError({
      code: 'E_LOADER_RUN',
      what: 'the loader program could not load its object',
      where: { errno: errnoName(returnValue | 0) },
      ...(why === '' ? {} : { why }),
    });
  };
}

function newContext(loader: LoaderProgram): Uint8Array<ArrayBuffer> {
  const context = new Uint8Array(loader.contextSize);
  new DataView(context.buffer).setUint32(0, context.length, true);
  return context;
}

function takeOver(
  kernel: Kernel,
  loader: LoaderProgram,
  run: (context: Uint8Array) => Uint8Array,
  explain: (context: Uint8Array) => RawbpfError,
): LoadedByLoader {
  const context = run(newContext(loader));
  const view = new DataView(context.buffer, context.byteOffset);
  const fds = [...loader.maps, ...loader.programs].map(({ fdSlot }) => view.getInt32(fdSlot, true));
  if (fds.some((fd) => fd <= 0)) throw explain(context);
  const maps = new Map(
    loader.maps.map((map) => [
      map.name,
      new BpfMap(kernel, view.getInt32(map.fdSlot, true), { ...map, name: map.libbpfName, mapExtra: 0n }),
    ]),
  );
  const programs = new Map(
    loader.programs.map((entry) => {
      const shape = { ...entry, spec: null, linked: null, log: '' };
      return [entry.name, new BpfProgram(kernel, view.getInt32(entry.fdSlot, true), shape)];
    }),
  );
  return {
    maps,
    programs,
    close: () => {
      for (const one of [...programs.values(), ...maps.values()]) one.close();
    },
  };
}
