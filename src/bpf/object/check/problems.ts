import type { Btf } from '../../../btf/btf.ts';
import type { BtfExt } from '../../../btf/ext.ts';
import { lineAt } from '../../../btf/line.ts';
import type { RawbpfError } from '../../../error.ts';
import { CORE_POISON } from '../../insn/core-patch.ts';
import { InsnSlots } from '../../insn/insn.ts';
import { BPF_OPCODE } from '../../insn/opcodes.ts';
import { BPF_ATTACH_TYPE, BPF_FUNC, BPF_MAP_TYPE, BPF_PROG_TYPE, BPF_PSEUDO, nameOf } from '../../uapi/index.ts';
import type { LinkedProgram, LinkResult } from '../linked.ts';
import type { ObjectSpec } from '../spec.ts';
import { attachProblem } from './attach-problem.ts';
import type { OfflineKernel } from './offline-kernel.ts';
import { reachableInsns } from './reach.ts';
import type { KernelProblem } from './report.ts';

/** Calls made invalid because a weak kfunc is absent carry its index among the externs (libbpf's number). */
const KFUNC_POISON = 2_002_000_000;

export interface ProblemContext {
  readonly spec: ObjectSpec;
  readonly kernel: OfflineKernel;
  /** Contents of the .kconfig map on this kernel. */
  readonly kconfig: Uint8Array | null;
}

/** What is wrong with one program on one kernel. */
export function programProblems(result: LinkResult, context: ProblemContext): { problems: KernelProblem[]; guarded: number } {
  if (!result.ok) return { problems: [linkProblem(result.error)], guarded: 0 };
  const { program } = result;
  const slots = new InsnSlots(program.insns);
  const reached = reach(program, slots, context, false);
  let byDefault: Uint8Array | null = null;
  const problems = [...typeProblems(program, context), ...mapProblems(program, context)];
  if (program.attachError === null) problems.push(...attachProblem(program.spec, context.kernel));
  else problems.push(errorProblem('attach', program.attachError));

  let guarded = 0;
  const said = new Map<string, KernelProblem>();
  for (const { insn, local, reason } of program.coreRelocations) {
    if (!isCall(slots, insn, CORE_POISON)) continue;
    if (reached[insn] === 0) {
      guarded++;
      continue;
    }
    const why = reason ?? 'this kernel has no such thing';
    add({ verdict: 'breaks', kind: 'relocation', what: described(local), why, insn, source: sourceOf(program, insn, context) });
  }
  for (let insn = 0; insn < slots.count; insn++) {
    if (reached[insn] === 0 || slots.code(insn) !== BPF_OPCODE.CALL || slots.src(insn) !== 0) continue;
    const call = callProblem(slots.imm(insn), context);
    if (call !== null) add({ ...call, insn, source: sourceOf(program, insn, context) });
  }
  return { problems: [...problems, ...said.values()], guarded };

  /** The same thing may be asked for at many places: the worst is told. */
  function add(problem: KernelProblem & { readonly insn: number }): void {
    byDefault ??= reach(program, slots, context, true);
    const key = `${problem.kind} ${problem.what}`;
    const known = said.get(key);
    if (byDefault[problem.insn] === 1) {
      if (known === undefined || known.verdict === 'may break') said.set(key, problem);
    } else if (known === undefined) {
      const why = `${problem.why}; reached only with other values of .rodata variables, or of what is not known of this kernel`;
      said.set(key, { ...problem, verdict: 'may break', why });
    }
  }
}

function reach(program: LinkedProgram, slots: InsnSlots, { spec, kernel, kconfig }: ProblemContext, defaults: boolean): Uint8Array {
  const maps = new Map(program.fixups.flatMap((fixup) => (fixup.kind === 'map_value_fd' ? [[fixup.insn, fixup.map] as const] : [])));
  const rodata = new Map(
    spec.maps.flatMap(({ name, origin, data }) => (origin === 'rodata' && data !== null ? [[name, data] as const] : [])),
  );
  const kconfigMap = spec.maps.find(({ origin }) => origin === 'kconfig')?.name ?? null;
  return reachableInsns(slots, [0, ...unreferenced(program, slots)], {
    mapAt: (insn) => maps.get(insn) ?? null,
    // What the kernel itself decides; what lies in .rodata is the user's to set, and what is not known may be anything.
    constant: (map, offset, size) => {
      const data = defaults ? rodata.get(map) : undefined;
      if (data !== undefined)
        return offset >= 0 && offset + size <= data.length ? littleEndian(data.subarray(offset, offset + size)) : null;
      if (map !== kconfigMap || kconfig === null) return null;
      const extern = spec.externs.find((one) => one.kind === 'kconfig' && offset >= one.offset && offset + size <= one.offset + one.size);
      if (extern === undefined) return null;
      const known = extern.name.startsWith('CONFIG_') ? kernel.hasConfig : extern.name !== 'LINUX_KERNEL_VERSION' || kernel.hasVersion;
      return known || defaults ? littleEndian(kconfig.subarray(offset, offset + size)) : null;
    },
    jumpTargets: program.jumpTables.flatMap((table) => [...table]),
  });
}

/** Functions that no instruction calls or takes the address of, such as exception callbacks: the kernel may enter them. */
function unreferenced(program: LinkedProgram, slots: InsnSlots): number[] {
  const referenced = new Set<number>();
  for (let insn = 0; insn < slots.count; insn++) {
    const code = slots.code(insn);
    const calls = code === BPF_OPCODE.CALL && slots.src(insn) === BPF_PSEUDO.BPF_PSEUDO_CALL;
    const points = code === BPF_OPCODE.LDIMM64 && slots.src(insn) === BPF_PSEUDO.BPF_PSEUDO_FUNC;
    if (calls || points) referenced.add(insn + 1 + slots.imm(insn));
    if (code === BPF_OPCODE.LDIMM64) insn++;
  }
  return program.functions.map(({ insn }) => insn).filter((insn) => insn !== 0 && !referenced.has(insn));
}

function unknownType(what: string): KernelProblem {
  return plain('breaks', 'program type', what, 'this kernel does not know it');
}

function typeProblems({ spec, expectedAttachType }: LinkedProgram, { kernel }: ProblemContext): KernelProblem[] {
  const problems: KernelProblem[] = [];
  if (kernel.hasValue('bpf_prog_type', spec.type) === false)
    problems.push(unknownType(nameOf(BPF_PROG_TYPE, spec.type) ?? `type ${spec.type}`));
  // Where the attach type may be left out, loaders leave it out on kernels that do not know it.
  const optional =
    spec.expectedAttachType === null || spec.section?.attachTypeOptional === true || spec.type === BPF_PROG_TYPE.BPF_PROG_TYPE_STRUCT_OPS;
  if (!optional && kernel.hasValue('bpf_attach_type', expectedAttachType) === false) {
    problems.push(unknownType(nameOf(BPF_ATTACH_TYPE, expectedAttachType) ?? `attach type ${expectedAttachType}`));
  }
  return problems;
}

function mapProblems(program: LinkedProgram, { spec, kernel }: ProblemContext): KernelProblem[] {
  const names = new Set(program.fixups.flatMap((fixup) => ('map' in fixup ? [fixup.map] : [])));
  return spec.maps.flatMap((map) => {
    // Ring buffers become perf event arrays on kernels without them, where the program is made for that.
    if (!names.has(map.name) || map.type === BPF_MAP_TYPE.BPF_MAP_TYPE_RINGBUF) return [];
    if (kernel.hasValue('bpf_map_type', map.type) !== false) return [];
    return [
      plain(
        'breaks',
        'map',
        `${map.name} (${nameOf(BPF_MAP_TYPE, map.type) ?? `type ${map.type}`})`,
        'this kernel has no maps of this type',
      ),
    ];
  });
}

function callProblem(imm: number, { spec, kernel }: ProblemContext): KernelProblem | null {
  if (imm === CORE_POISON) return null;
  if (imm >= KFUNC_POISON && imm < KFUNC_POISON + spec.externs.length) {
    const name = spec.externs[imm - KFUNC_POISON]?.name ?? '?';
    return plain('breaks', 'extern', name, 'this kernel has no such function, and the call is not guarded');
  }
  if (kernel.hasValue('bpf_func_id', imm) !== false) return null;
  const name = nameOf(BPF_FUNC, imm);
  return plain('breaks', 'helper', name === null ? `helper ${imm}` : name.replace('BPF_FUNC_', 'bpf_'), 'this kernel has no such helper');
}

function linkProblem(error: RawbpfError): KernelProblem {
  const { code } = error;
  return errorProblem(code.startsWith('E_CORE_') ? 'relocation' : /^E_(EXTERN|KSYM|KCONFIG)/.test(code) ? 'extern' : 'link', error);
}

function errorProblem(kind: KernelProblem['kind'], error: RawbpfError): KernelProblem {
  const name = error.where.extern;
  return plain('breaks', kind, name === undefined ? error.what : String(name), error.why ?? error.what);
}

function plain(verdict: KernelProblem['verdict'], kind: KernelProblem['kind'], what: string, why: string): KernelProblem {
  return { verdict, kind, what, why, insn: null, source: null };
}

function isCall(slots: InsnSlots, insn: number, imm: number): boolean {
  return slots.code(insn) === BPF_OPCODE.CALL && slots.src(insn) === 0 && slots.imm(insn) === imm;
}

/** `struct task_struct.loginuid` out of `<byte_off> [7] struct task_struct.loginuid (0:1 @ offset 8)`. */
function described(local: string): string {
  return local
    .replace(/^<\w+> \[\d+\] /, '')
    .replace(/ \([\d:]+ @ offset [\d.]+\)$/, '')
    .replace(/(::.*) = -?\d+$/, '$1');
}

function sourceOf(program: LinkedProgram, insn: number, { spec }: ProblemContext): string | null {
  const { btf, btfExt } = spec;
  const fn = program.functions.findLast((one) => insn >= one.insn);
  return btf === null || btfExt === null || fn === undefined
    ? null
    : sourceLine(btfExt, btf, fn.sectionName, fn.sectionInsn + insn - fn.insn);
}

function sourceLine(ext: BtfExt, btf: Btf, section: string, insn: number): string | null {
  const line = lineAt(ext, btf, section, insn * 8);
  return line === null ? null : `${line.file.slice(line.file.lastIndexOf('/') + 1)}:${line.line}`;
}

function littleEndian(bytes: Uint8Array): bigint {
  return bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
}
