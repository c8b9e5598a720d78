import { BTF_KIND } from '../../btf/types.ts';
import { UnsupportedError } from '../../error.ts';
import { attachName } from '../object/link/attach-target.ts';
import type { FunctionBodies } from '../object/link/bodies.ts';
import { joinExtInfo } from '../object/link/ext-info.ts';
import { joinProgram, type JoinedProgram, relocationsIn } from '../object/link/join.ts';
import { functionAt } from '../object/functions.ts';
import type { ExternSpec, ObjectSpec, ProgramSpec } from '../object/spec.ts';
import { BPF_PSEUDO } from '../uapi/flags.gen.ts';
import { BPF_PROG_TYPE } from '../uapi/prog-type.gen.ts';

/** Where an instruction names something that only the kernel knows. */
export interface LaterReference {
  readonly insn: number;
  readonly extern: ExternSpec;
  /** A call of it; else its address is loaded, which is also how a weak function is asked for. */
  readonly isCall: boolean;
}

/** A program as a loader program hands it to the kernel: what is relocated, the kernel relocates. */
export interface UnboundProgram {
  readonly spec: ProgramSpec;
  readonly insns: Uint8Array;
  readonly later: readonly LaterReference[];
  readonly funcInfo: { readonly recordSize: number; readonly count: number; readonly bytes: Uint8Array };
  readonly lineInfo: { readonly recordSize: number; readonly count: number; readonly bytes: Uint8Array };
  /** struct bpf_core_relo, 16 bytes each. */
  readonly coreRelos: Uint8Array;
  /** What the kernel's BTF calls the place to attach to, null for none. */
  readonly attachTo: { readonly name: string; readonly kind: number } | null;
}

/** Joins a program with its subprograms; maps become indices into fd_array, CO-RE is left to the kernel. */
export function unboundProgram(
  spec: ObjectSpec,
  program: ProgramSpec,
  bodies: FunctionBodies,
  mapIndex: (name: string) => number,
): UnboundProgram {
  const joined = joinProgram(spec, program, bodies);
  const later = bindMaps(spec, program, joined, mapIndex);
  return {
    spec: program,
    insns: joined.slots.bytes,
    later,
    ...joinExtInfo(spec, program, joined.functions),
    coreRelos: coreRelos(spec, joined),
    attachTo: attachPlace(program),
  };
}

function bindMaps(spec: ObjectSpec, program: ProgramSpec, joined: JoinedProgram, mapIndex: (name: string) => number): LaterReference[] {
  const { slots } = joined;
  const later: LaterReference[] = [];
  const bind = (at: number, name: string, source: number, offset: number): void => {
    slots.setSrc(at, source);
    slots.setImm(at, mapIndex(name));
    slots.setImm(at + 1, offset);
  };
  for (const fn of joined.functions) {
    for (const { at, relocation } of relocationsIn(fn)) {
      const { target } = relocation;
      switch (target.kind) {
        case 'map':
          bind(at, target.map, BPF_PSEUDO.BPF_PSEUDO_MAP_IDX, 0);
          break;
        case 'map_value':
          bind(at, target.map, BPF_PSEUDO.BPF_PSEUDO_MAP_IDX_VALUE, target.offset);
          break;
        case 'extern_var':
        case 'extern_call': {
          const index = spec.externs.findIndex(({ name }) => name === target.extern);
          const extern = spec.externs[index];
          if (extern === undefined) throw unsupported(program, `its extern ${target.extern} is not declared`);
          if (extern.kind === 'kconfig') {
            bind(at, '.kconfig', BPF_PSEUDO.BPF_PSEUDO_MAP_IDX_VALUE, extern.offset);
            break;
          }
          const isCall = target.kind === 'extern_call';
          later.push({ insn: at, extern, isCall });
          if (isCall) slots.setSrc(at, BPF_PSEUDO.BPF_PSEUDO_KFUNC_CALL);
          else if (extern.kind !== 'ksym') slots.setSrc(at, BPF_PSEUDO.BPF_PSEUDO_BTF_ID);
          break;
        }
        case 'insn_array':
          throw unsupported(program, 'it has jump tables');
        case 'undefined':
          throw unsupported(program, `nothing defines ${target.symbol}`);
        case 'call':
        case 'func':
          break;
      }
    }
  }
  return later;
}

/** The records of the functions that were joined, offsets in bytes from the program's start. */
function coreRelos(spec: ObjectSpec, { functions }: JoinedProgram): Uint8Array {
  const { btf, btfExt } = spec;
  if (btf === null || btfExt === null) return new Uint8Array(0);
  const records: number[] = [];
  for (const joined of functions) {
    for (const { sectionName, relos } of btfExt.coreRelos) {
      if (sectionName !== joined.section.name) continue;
      for (const relo of relos) {
        const insn = relo.insnOffset / 8;
        if (functionAt(joined.section.functions, insn) !== joined.fn) continue;
        records.push((joined.at + insn - joined.fn.insn) * 8, relo.typeId, relo.accessOffset ?? 0, relo.kind);
      }
    }
  }
  return new Uint8Array(Uint32Array.from(records).buffer);
}

function attachPlace(program: ProgramSpec): UnboundProgram['attachTo'] {
  switch (program.type) {
    case BPF_PROG_TYPE.BPF_PROG_TYPE_UNSPEC:
      throw unsupported(program, `section ${program.sectionName} says no type`);
    case BPF_PROG_TYPE.BPF_PROG_TYPE_EXT:
      throw unsupported(program, 'it extends another program');
    case BPF_PROG_TYPE.BPF_PROG_TYPE_STRUCT_OPS:
      throw unsupported(program, 'it is for struct_ops');
  }
  if (program.section?.attach === 'tracing_multi' || program.section?.needsBtfTarget !== true) return null;
  if (program.attachTo === null) throw unsupported(program, 'its section names no target');
  const { name, kind } = attachName(program, program.attachTo);
  return { name, kind: BTF_KIND[kind] };
}

export function unsupported(program: ProgramSpec, why: string): UnsupportedError {
  return new UnsupportedError({
    code: 'E_LOADER_PROGRAM',
    what: 'a loader program cannot load this program',
    where: { program: program.name, section: program.sectionName },
    why,
    next: 'leave it out (autoload), or load the object itself',
  });
}
