import type { Btf } from '../../../btf/btf.ts';
import type { BtfKindName } from '../../../btf/types.ts';
import type { RawbpfError } from '../../../error.ts';
import { BPF_ATTACH_TYPE, BPF_PROG_TYPE } from '../../uapi/index.ts';
import type { ProgramSpec } from '../spec.ts';
import type { TargetKernel } from '../target.ts';
import { LinkError, placeOf } from './error.ts';
import { suggestType } from './suggest.ts';

/** The kernel function or tracepoint that a program is attached to. */
export interface AttachTarget {
  readonly btfId: number;
  /** '' for vmlinux. */
  readonly module: string;
  /** Why it was not found, null where it was or none is wanted. */
  readonly error: RawbpfError | null;
}

const noTarget: AttachTarget = { btfId: 0, module: '', error: null };
/** The longest name libbpf looks for, prefix included. */
const maxName = 127;

/**
 * Looks for what a program's section names after its slash: `[module:]name`, with a prefix by attach type. A program that
 * extends another (freplace) gets its target when that one is known.
 */
export function findAttachTarget(program: ProgramSpec, target: TargetKernel): AttachTarget {
  if (program.type === BPF_PROG_TYPE.BPF_PROG_TYPE_STRUCT_OPS) {
    return failed(
      program,
      'no struct_ops variable points to the program',
      'name it in a variable of SEC(".struct_ops") or SEC(".struct_ops.link")',
    );
  }
  if (program.section?.attach === 'tracing_multi') return multiTarget(program, target);
  if (program.section?.needsBtfTarget !== true || program.type === BPF_PROG_TYPE.BPF_PROG_TYPE_EXT) return noTarget;
  const { attachTo } = program;
  if (attachTo === null) {
    return failed(program, 'the section names no target', `write SEC("${program.sectionName}/NAME"), or set one before loading`);
  }
  const colon = attachTo.indexOf(':');
  const module = colon < 0 ? null : attachTo.slice(0, colon);
  const name = attachTo.slice(colon + 1);
  const [prefix, kind] = prefixOf(program.expectedAttachType);
  if (prefix.length + name.length > maxName) return failed(program, 'the name is too long', 'kernel names have at most 127 characters');
  // As libbpf compares: a module's name may be cut short, and an empty one means any.
  if (module === null || 'vmlinux'.startsWith(module)) {
    const btfId = find(target.vmlinuxBtf(), prefix + name, kind);
    if (btfId !== null) return { btfId, module: '', error: null };
  }
  for (const candidate of target.moduleBtfs()) {
    if (module !== null && !candidate.name.startsWith(module)) continue;
    const btfId = find(candidate.btf, prefix + name, kind);
    if (btfId !== null) return { btfId, module: candidate.name, error: null };
  }
  const what = kind === 'TYPEDEF' ? 'raw tracepoint' : prefix === '' ? 'function' : prefix === 'bpf_iter_' ? 'iterator' : 'LSM hook';
  const hint = suggestType(target.vmlinuxBtf(), kind, prefix, name);
  return failed(
    program,
    `this kernel has no ${what} ${attachTo}: its BTF has no ${kind} ${prefix}${name}`,
    hint === '' ? 'attach to something else' : hint,
  );
}

/** Programs for many functions name none when they are loaded, but the module, if any (`module:pattern`). */
function multiTarget(program: ProgramSpec, target: TargetKernel): AttachTarget {
  const colon = program.attachTo?.indexOf(':') ?? -1;
  const module = program.attachTo?.slice(0, Math.max(colon, 0)) ?? '';
  if (module === '' || module === 'vmlinux') return noTarget;
  if (target.moduleBtfs().some(({ name }) => name === module)) return { ...noTarget, module };
  return failed(program, `no module ${module} with BTF is loaded`, 'load the module first');
}

function find(btf: Btf | null, name: string, kind: BtfKindName): number | null {
  return btf?.findByName(name, kind) ?? null;
}

/** What the kernel's BTF calls a place to attach to; `[module:]` is left off. */
export function attachName(program: ProgramSpec, attachTo: string): { readonly name: string; readonly kind: BtfKindName } {
  const [prefix, kind] = prefixOf(program.expectedAttachType);
  return { name: prefix + attachTo.slice(attachTo.indexOf(':') + 1), kind };
}

function prefixOf(attachType: number | null): readonly [prefix: string, kind: BtfKindName] {
  switch (attachType) {
    case BPF_ATTACH_TYPE.BPF_TRACE_RAW_TP:
      return ['btf_trace_', 'TYPEDEF'];
    case BPF_ATTACH_TYPE.BPF_LSM_MAC:
    case BPF_ATTACH_TYPE.BPF_LSM_CGROUP:
      return ['bpf_lsm_', 'FUNC'];
    case BPF_ATTACH_TYPE.BPF_TRACE_ITER:
      return ['bpf_iter_', 'FUNC'];
    default:
      return ['', 'FUNC'];
  }
}

function failed(program: ProgramSpec, why: string, next: string): AttachTarget {
  const where = { ...placeOf(program), ...(program.attachTo === null ? {} : { target: program.attachTo }) };
  return { ...noTarget, error: new LinkError({ code: 'E_ATTACH_TARGET', what: 'the attach target is not known', where, why, next }) };
}
