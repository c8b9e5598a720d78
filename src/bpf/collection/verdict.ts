import type { Btf } from '../../btf/btf.ts';
import { RawbpfError } from '../../error.ts';
import { withoutFds } from '../insn/insn.ts';
import { attachProgram } from '../link/attach.ts';
import type { LinkedProgram } from '../object/linked.ts';
import type { ObjectSpec, ProgramSpec } from '../object/spec.ts';
import { programTag } from '../program/info.ts';
import type { BpfProgram } from '../program/program.ts';
import { BPF_ATTACH_TYPE } from '../uapi/attach-type.gen.ts';
import { nameOf } from '../uapi/names.ts';
import { BPF_PROG_TYPE } from '../uapi/prog-type.gen.ts';
import type { LoadOptions } from './options.ts';

/** How one program fared. */
export interface ProgramVerdict {
  readonly name: string;
  readonly section: string;
  /** The kernel's name: `BPF_PROG_TYPE_TRACEPOINT`. */
  readonly type: string;
  /** The kernel's name; null where the section sets none. */
  readonly attachType: string | null;
  /** expected_attach_type of BPF_PROG_LOAD: 0 where nothing sets one, of a struct_ops program the member's index. */
  readonly expectedAttachType: number;
  /** After subprograms are joined. */
  readonly insnCount: number;
  /** With the whole object, or alone. */
  readonly loaded: boolean;
  /** The kernel's hash over its instructions, null where it did not load. */
  readonly tag: string | null;
  /** Null where it was not asked for, or the section says nothing to attach to. */
  readonly attached: boolean | null;
  readonly error: RawbpfError | null;
  /** Instructions after all relocation, map and BTF descriptors zero; null where that failed. */
  readonly insns: Uint8Array | null;
}

export interface TryOptions {
  /** Also attaches each program whose section says where, and lets go again. */
  readonly attach?: boolean;
  /** Layouts of structs that no kernel has, as whoever loads the object would give them. */
  readonly extraBtfs?: readonly Btf[];
}

/** What an object that is only tried is loaded with: nothing is pinned. */
export function optionsToLoad(spec: ObjectSpec, options: TryOptions): LoadOptions {
  return { pinRoot: null, sizeUnsized: !spec.strict, extraBtfs: options.extraBtfs ?? [] };
}

/** Of a program that the kernel took; attached and let go of where that is asked for. */
export function loadedVerdict(program: ProgramSpec, loaded: BpfProgram, options: TryOptions): ProgramVerdict {
  const { kernel } = loaded;
  const tag = programTag(kernel.sys, loaded.fd);
  let attached: boolean | null = null;
  let error: RawbpfError | null = null;
  if (options.attach === true) {
    try {
      const link = attachProgram(loaded);
      attached = link === null ? null : true;
      link?.close();
    } catch (caught) {
      attached = false;
      error = known(caught);
    }
  }
  return verdict(program, loaded.linked, { loaded: true, tag, attached, error });
}

/** Whether its section says what to attach to. */
export function attachable(program: ProgramSpec): boolean {
  return program.section !== null && program.section.attach !== 'none' && program.attachTo !== null;
}

/** What is told of a program, however it fared; `linked` is null where linking failed. */
export function verdict(
  program: ProgramSpec,
  linked: LinkedProgram | null,
  outcome: Pick<ProgramVerdict, 'loaded' | 'tag' | 'attached' | 'error'>,
): ProgramVerdict {
  const named = program.expectedAttachType;
  let insns: Uint8Array | null = null;
  return {
    name: program.name,
    section: program.sectionName,
    type: nameOf(BPF_PROG_TYPE, program.type) ?? `BPF_PROG_TYPE_${program.type}`,
    attachType: named === null ? null : (nameOf(BPF_ATTACH_TYPE, named) ?? String(named)),
    expectedAttachType: linked?.expectedAttachType ?? named ?? 0,
    insnCount: (linked?.insns ?? program.insns).length / 8,
    ...outcome,
    // Copied where somebody wants them.
    get insns() {
      return (insns ??= linked === null ? null : withoutFds(linked.insns));
    },
  };
}

/** A failure of the object's or the kernel's; anything else is a bug of ours and goes on. */
export function known(error: unknown): RawbpfError {
  if (error instanceof RawbpfError) return error;
  throw error;
}
