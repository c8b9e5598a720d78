import type { Btf } from '../../btf/btf.ts';
import type { StructValues } from '../../bytes/struct.ts';
import { toCString } from '../../bytes/text.ts';
import { UnsupportedError, UsageError } from '../../error.ts';
import { bpfError, bpfOffload } from '../../sys/bpf.ts';
import { progLoadAttr } from '../../sys/bpf-attr/index.ts';
import { errnoName, isErrno } from '../../sys/errno.ts';
import { explainPermission } from '../../sys/permission.ts';
import { InsnSlots } from '../insn/insn.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { kernelObjectName } from '../object-name.ts';
import type { InfoRecords, LinkedProgram } from '../object/linked.ts';
import { suggestSection } from '../object/section-rule.ts';
import { BPF_PROG_TYPE } from '../uapi/prog-type.gen.ts';
import { nameOf } from '../uapi/names.ts';
import { VerifierError } from '../verifier/error.ts';
import { type Attempt, attemptLoad, maxAttempts } from './attempt.ts';
import { sourceLine } from '../verifier/source-line.ts';
import { BpfProgram } from './program.ts';

/** What a linked program needs to be loaded besides itself. */
export interface ProgramContext {
  readonly license: string;
  /** LINUX_VERSION_CODE form; the running kernel's where the object names none. */
  readonly kernVersion: number;
  /** Descriptors of the maps it uses, by name. */
  mapFd(name: string): number;
  /** Descriptors of modules' BTF, by module. */
  moduleFd(name: string): number;
  /** Descriptors of the maps made from {@link LinkedProgram.jumpTables}. */
  jumpTableFd(index: number): number;
  /** The object's BTF, parsed and loaded; -1 where the kernel has not taken it. */
  readonly btf: Btf | null;
  readonly btfFd: number;
  /** The program an EXT (freplace) or tracing program is for. */
  readonly attachProgramFd?: number;
  /** The function of that program, in its BTF. */
  readonly attachProgramBtfId?: number;
  /** Names of all externs and maps of the object, for what the verifier says of missing ones. */
  readonly externNames?: readonly string[];
  readonly mapNames?: readonly string[];
  /** 1: the log of a successful load too, 2: every state, 4: statistics; 0 unless said. */
  readonly logLevel?: number;
}

/**
 * Loads one linked program. The first attempt asks for no log, which is much faster; after a refusal the second asks
 * for all of it.
 *
 * Throws VerifierError where the verifier refused it, SyscallError where the kernel did for another reason.
 */
export function loadProgram(kernel: Kernel, linked: LinkedProgram, context: ProgramContext, started?: StartedLoad): BpfProgram {
  if (started !== undefined) return loadedProgram(kernel, linked, started.values, { result: started.fd, log: '' });
  checkLoadable(linked, context);
  let attr = loadAttributes(kernel, linked, context);
  let loaded = attemptLoad(kernel, attr, context.logLevel ?? 0);
  if (isErrno(loaded.result, 'EPERM') && kernel.retryAfterMemlock()) loaded = attemptLoad(kernel, attr, context.logLevel ?? 0);
  if (isErrno(loaded.result, 'EINVAL') || isErrno(loaded.result, 'E2BIG')) {
    const reduced = withoutUnknown(kernel, linked, attr, loaded.attr);
    if (reduced !== null) {
      attr = reduced;
      loaded = attemptLoad(kernel, attr, context.logLevel ?? 0);
    }
  }
  // EPERM without a log comes before the verifier; asking again for its log costs nothing and may say more.
  if (loaded.result < 0 && loaded.log === '') loaded = attemptLoad(kernel, attr, 1);
  if (loaded.result < 0) throw loadError(kernel, linked, context, loaded);
  return loadedProgram(kernel, linked, attr, loaded);
}

/** A program that the kernel took on another thread, before it was its turn. */
export interface StartedLoad {
  readonly values: StructValues;
  readonly fd: number;
}

/**
 * Begins to load a program on another thread; null where that cannot be. The promise gives null where the kernel refused it: what
 * to do about that, and what to say, is {@link loadProgram}'s, when it is the program's turn.
 */
export function startLoading(kernel: Kernel, linked: LinkedProgram, context: ProgramContext): Promise<StartedLoad | null> | null {
  // A log is wanted: that takes more than one call.
  if ((context.logLevel ?? 0) !== 0) return null;
  checkLoadable(linked, context);
  const values = loadAttributes(kernel, linked, context);
  return bpfOffload(kernel.sys, 'BPF_PROG_LOAD', values)?.then((fd) => (fd === null ? null : { values, fd })) ?? null;
}

function loadedProgram(
  kernel: Kernel,
  linked: LinkedProgram,
  attr: StructValues,
  { result, log }: Pick<Attempt, 'result' | 'log'>,
): BpfProgram {
  const { spec } = linked;
  kernel.trace({ step: 'program', name: spec.name, type: spec.type, insnCount: linked.insns.length / 8, fd: result });
  return new BpfProgram(kernel, result, {
    name: spec.name,
    type: spec.type,
    expectedAttachType: Number(attr['expected_attach_type'] ?? 0),
    spec,
    linked,
    log,
  });
}

/** Throws what can be said without asking the kernel. */
function checkLoadable(linked: LinkedProgram, context: ProgramContext): void {
  const { spec } = linked;
  if (spec.type === BPF_PROG_TYPE.BPF_PROG_TYPE_UNSPEC) {
    throw new UnsupportedError({
      code: 'E_PROGRAM_TYPE',
      what: `program ${spec.name} has no type`,
      where: { section: spec.sectionName },
      why: 'no section rule matches',
      next: [
        suggestSection(spec.sectionName),
        'name the section after the hook (SEC("tp/syscalls/sys_enter_execve")), or set the type before loading',
      ]
        .filter((part) => part !== '')
        .join(' '),
    });
  }
  if (spec.type === BPF_PROG_TYPE.BPF_PROG_TYPE_STRUCT_OPS && linked.attachBtfId === 0) {
    throw new UsageError({
      code: 'E_STRUCT_OPS_UNUSED',
      what: `no struct_ops map uses program ${spec.name}`,
      where: { section: spec.sectionName },
      next: 'name it in a variable of SEC(".struct_ops") or SEC(".struct_ops.link")',
    });
  }
  if (linked.insns.length === 0) throw new UsageError({ code: 'E_PROGRAM_EMPTY', what: `program ${spec.name} has no instructions` });
  if (linked.attachError !== null && context.attachProgramFd === undefined) throw linked.attachError;
  if (spec.type === BPF_PROG_TYPE.BPF_PROG_TYPE_EXT && context.attachProgramFd === undefined) {
    throw new UsageError({
      code: 'E_ATTACH_TARGET',
      what: `program ${spec.name} replaces a function of another program, and none is given`,
      where: { section: spec.sectionName },
      next: `load the other program first and give it: attachPrograms: { ${spec.name}: other }`,
    });
  }
}

function loadAttributes(kernel: Kernel, linked: LinkedProgram, context: ProgramContext): StructValues {
  const { spec } = linked;
  const { insns, fdArray } = applyFixups(linked, context);
  const attachModuleFd = linked.attachBtfModule === '' ? undefined : context.moduleFd(linked.attachBtfModule);
  return {
    prog_type: spec.type,
    insns,
    insn_cnt: insns.length / 8,
    license: toCString(context.license),
    kern_version: context.kernVersion === 0 ? kernel.version : context.kernVersion,
    prog_flags: spec.flags,
    prog_name: kernelObjectName(spec.name),
    expected_attach_type: linked.expectedAttachType,
    ...infoAttributes(linked, context),
    attach_btf_id: context.attachProgramBtfId ?? linked.attachBtfId,
    ...(context.attachProgramFd === undefined ? { attach_btf_obj_fd: attachModuleFd } : { attach_prog_fd: context.attachProgramFd }),
    fd_array: fdArray ?? undefined,
  };
}

function infoAttributes(linked: LinkedProgram, context: ProgramContext): StructValues {
  if (context.btfFd < 0) return {};
  const { funcInfo, lineInfo } = linked;
  return {
    prog_btf_fd: context.btfFd,
    ...(funcInfo.count === 0 ? {} : { func_info: funcInfo.bytes, func_info_rec_size: funcInfo.recordSize, func_info_cnt: funcInfo.count }),
    ...(lineInfo.count === 0 ? {} : { line_info: lineInfo.bytes, line_info_rec_size: lineInfo.recordSize, line_info_cnt: lineInfo.count }),
  };
}

/** Puts the descriptors in, into a copy: a linked program can be loaded again. */
function applyFixups(linked: LinkedProgram, context: ProgramContext): { insns: Uint8Array; fdArray: Uint8Array | null } {
  const slots = new InsnSlots(linked.insns.slice());
  const modules = new Map<number, number>();
  for (const fixup of linked.fixups) {
    switch (fixup.kind) {
      case 'map_fd':
      case 'map_value_fd':
        slots.setImm(fixup.insn, context.mapFd(fixup.map));
        break;
      case 'ksym_btf_fd':
        slots.setImm(fixup.insn + 1, context.moduleFd(fixup.module));
        break;
      case 'jump_table_fd':
        slots.setImm(fixup.insn, context.jumpTableFd(fixup.table));
        break;
      case 'module_btf_fd':
        slots.setOff(fixup.insn, fixup.fdArrayIndex);
        modules.set(fixup.fdArrayIndex, context.moduleFd(fixup.module));
        break;
    }
  }
  if (modules.size === 0) return { insns: slots.bytes, fdArray: null };
  // The kernel knows no length: it reads the elements that instructions name. Element 0 stands for vmlinux.
  const fds = new Int32Array(Math.max(...modules.keys()) + 1);
  for (const [index, fd] of modules) fds[index] = fd;
  return { insns: slots.bytes, fdArray: new Uint8Array(fds.buffer) };
}

/** The attributes without what this kernel does not know; null where it knows all of it. */
function withoutUnknown(kernel: Kernel, linked: LinkedProgram, values: StructValues, attr: Uint8Array): StructValues | null {
  const reduced: Record<string, StructValues[string]> = { ...values };
  let changed = false;
  const drop = (...names: string[]): void => {
    for (const name of names) {
      if (reduced[name] === undefined) continue;
      reduced[name] = undefined;
      changed = true;
    }
  };
  if (!kernel.has('prog_name')) drop('prog_name');
  if (linked.spec.section?.attachTypeOptional === true && reduced['expected_attach_type'] !== 0 && !kernel.has('exp_attach_type')) {
    drop('expected_attach_type');
  }
  if (reduced['prog_btf_fd'] !== undefined && !kernel.has('btf_func')) {
    drop('prog_btf_fd', 'func_info', 'func_info_rec_size', 'func_info_cnt', 'line_info', 'line_info_rec_size', 'line_info_cnt');
  }
  // With E2BIG the kernel writes back the record size it knows: what lies beyond must be zero.
  const kernelSizes = progLoadAttr.decode(attr);
  for (const kind of ['func_info', 'line_info'] as const) {
    const records: InfoRecords = kind === 'func_info' ? linked.funcInfo : linked.lineInfo;
    const known = Number(kernelSizes[`${kind}_rec_size`]);
    if (reduced[kind] === undefined || known === 0 || known >= records.recordSize) continue;
    reduced[kind] = zeroTails(records, known);
    changed = true;
  }
  return changed ? reduced : null;
}

function zeroTails(records: InfoRecords, known: number): Uint8Array {
  const bytes = records.bytes.slice();
  for (let i = 0; i < records.count; i++) bytes.fill(0, i * records.recordSize + known, (i + 1) * records.recordSize);
  return bytes;
}

function loadError(kernel: Kernel, linked: LinkedProgram, context: ProgramContext, loaded: Attempt): Error {
  const { spec } = linked;
  const { btf } = context;
  if (loaded.log.trim() !== '' && !isErrno(loaded.result, 'EAGAIN') && !loaded.log.startsWith('processed 0 insns')) {
    return new VerifierError({
      program: spec.name,
      section: spec.sectionName,
      errno: Math.abs(loaded.result),
      log: loaded.log,
      sourceLine: (insn) => (btf === null ? null : sourceLine(linked.lineInfo, btf, insn)),
      coreRelocations: linked.coreRelocations,
      externs: context.externNames ?? [],
      maps: context.mapNames ?? [],
    });
  }
  const why = whyRefused(kernel, loaded.result, linked);
  return bpfError(kernel.sys, 'BPF_PROG_LOAD', loaded.result, {
    what: `cannot load program ${spec.name}`,
    where: { section: spec.sectionName, type: nameOf(BPF_PROG_TYPE, spec.type) ?? spec.type },
    ...(why === null ? {} : { why }),
  });
}

function whyRefused(kernel: Kernel, result: number, linked: LinkedProgram): string | null {
  switch (errnoName(result)) {
    case 'EPERM':
      // Where a capability is missing, the explanation of that stands here.
      return linked.attachBtfId === 0 || explainPermission(kernel.sys) !== null
        ? null
        : 'no capability is missing: what guards this machine (lockdown, a security module, its host) refuses programs that attach to kernel functions';
    case 'EINVAL':
      return linked.attachBtfId > 0
        ? 'this kernel does not take programs of this type, or not for this target'
        : 'this kernel does not know the program type, or not with this attach type and these flags';
    case 'EAGAIN':
      return `a signal interrupted the verifier, ${maxAttempts} times`;
    case 'E2BIG':
      return `it has ${linked.insns.length / 8} instructions, more than this kernel takes`;
    default:
      return null;
  }
}
