import type { Btf } from '../../../btf/btf.ts';
import type { BtfExt } from '../../../btf/ext.ts';
import { CoreError } from '../../../btf/core/error.ts';
import type { CoreResolution } from '../../../btf/core/resolution.ts';
import { CoreResolver } from '../../../btf/core/resolver.ts';
import { RawbpfError } from '../../../error.ts';
import { patchInsn } from '../../insn/core-patch.ts';
import { functionAt } from '../functions.ts';
import type { CodeSection, FunctionSymbol, ObjectSpec, ProgramSpec } from '../spec.ts';
import type { TargetKernel } from '../target.ts';
import { LinkError } from './error.ts';

/** A CO-RE relocation that was applied to a function; `insn` counts from the function's start. */
export interface AppliedInBody {
  readonly insn: number;
  readonly resolution: CoreResolution;
  /** Made invalid: what it wants is missing, or has a width that the access cannot follow. */
  readonly poisoned: boolean;
}

/** A function's instructions after CO-RE, before it is joined to programs. */
export interface FunctionBody {
  readonly section: CodeSection;
  readonly fn: FunctionSymbol;
  readonly insns: Uint8Array;
  readonly core: readonly AppliedInBody[];
  /** Why its relocations failed, null where they did not. */
  readonly error: RawbpfError | null;
}

/** A body while it is relocated. */
interface WritableBody extends FunctionBody {
  readonly core: AppliedInBody[];
  error: RawbpfError | null;
}

/** The functions of an object with CO-RE applied for one kernel and one set of programs that load. */
export class FunctionBodies {
  readonly #bodies = new Map<FunctionSymbol, FunctionBody>();
  /** The first CO-RE relocation that failed, in the order of .BTF.ext. */
  readonly error: RawbpfError | null;

  constructor(spec: ObjectSpec, target: TargetKernel, loads: (program: ProgramSpec) => boolean) {
    const entries = new Map(spec.programs.map((program) => [`${program.sectionIndex}:${program.sectionInsn}`, program]));
    const skip = (section: CodeSection, fn: FunctionSymbol): boolean => {
      const program = entries.get(`${section.index}:${fn.insn}`);
      return program !== undefined && !loads(program);
    };
    this.error = spec.btf === null || spec.btfExt === null ? null : this.#relocate(spec, spec.btfExt, target, skip);
  }

  of(section: CodeSection, fn: FunctionSymbol): FunctionBody {
    const known = this.#bodies.get(fn);
    if (known !== undefined) return known;
    const insns = section.insns.subarray(fn.insn * 8, (fn.insn + fn.insnCount) * 8);
    return { section, fn, insns, core: [], error: null };
  }

  /** Walks .BTF.ext once: relocations narrow the candidates of those that follow, so their order is part of the result. */
  #relocate(
    spec: ObjectSpec,
    ext: BtfExt,
    target: TargetKernel,
    skip: (section: CodeSection, fn: FunctionSymbol) => boolean,
  ): RawbpfError | null {
    const sections = new Map([...spec.code.values()].toReversed().map((section) => [section.name, section]));
    let resolver: CoreResolver | null = null;
    let first: RawbpfError | null = null;
    for (const { sectionName, relos } of ext.coreRelos) {
      const section = sections.get(sectionName);
      if (section === undefined) continue;
      let fn: FunctionSymbol | null = null;
      let body: WritableBody | null = null;
      for (const relo of relos) {
        const found = functionAt(section.functions, Math.floor(relo.insnOffset / 8));
        // Relocations of a function stand together.
        if (found !== fn) {
          fn = found;
          body = fn === null || skip(section, fn) ? null : this.#writable(section, fn);
        }
        if (fn === null || body === null || body.error !== null) continue;
        const insn = relo.insnOffset / 8 - fn.insn;
        try {
          if (!Number.isInteger(insn)) throw misaligned(sectionName, relo.insnOffset);
          resolver ??= new CoreResolver(spec.btf as NonNullable<typeof spec.btf>, targetsOf(target), rootsOf(ext));
          const resolution = resolver.resolve(relo);
          const patch = patchInsn(body.insns, insn, resolution, { where: { section: sectionName, function: fn.name } });
          body.core.push({ insn, resolution, poisoned: patch.field === 'poison' });
        } catch (error) {
          if (!(error instanceof RawbpfError)) throw error;
          body.error = relocationError(error, section, fn, insn);
          first ??= body.error;
        }
      }
    }
    return first;
  }

  #writable(section: CodeSection, fn: FunctionSymbol): WritableBody {
    let body = this.#bodies.get(fn) as WritableBody | undefined;
    if (body === undefined) {
      body = { section, fn, insns: section.insns.slice(fn.insn * 8, (fn.insn + fn.insnCount) * 8), core: [], error: null };
      this.#bodies.set(fn, body);
    }
    return body;
  }
}

function targetsOf(target: TargetKernel): ConstructorParameters<typeof CoreResolver>[1] {
  const given = (): Btf | null => target.coreBtf?.() ?? null;
  return {
    vmlinux: () => given() ?? target.vmlinuxBtf(),
    modules: () => (given() === null ? target.moduleBtfs() : []),
    extra: target.extraBtfs,
    ringbuf: target.ringbuf,
  };
}

/** Root types of all relocations, also of programs that do not load; ids that are no types are told when it is their turn. */
function rootsOf(ext: BtfExt): ReadonlySet<number> {
  const roots = new Set<number>();
  for (const { relos } of ext.coreRelos) for (const { typeId } of relos) roots.add(typeId);
  return roots;
}

function misaligned(section: string, offset: number): LinkError {
  return new LinkError({
    code: 'E_CORE_INSN',
    what: 'malformed CO-RE relocation',
    where: { section, offset },
    why: 'it is not at an instruction',
  });
}

function relocationError(cause: RawbpfError, section: CodeSection, fn: FunctionSymbol, insn: number): RawbpfError {
  const where = { section: section.name, function: fn.name, insn: fn.insn + insn };
  const parts = { code: cause.code, what: cause.what, where: { ...where, ...cause.where }, cause };
  const more = { ...(cause.why === null ? {} : { why: cause.why }), ...(cause.next === null ? {} : { next: cause.next }) };
  return cause instanceof CoreError ? new CoreError({ ...parts, ...more }) : new LinkError({ ...parts, ...more });
}
