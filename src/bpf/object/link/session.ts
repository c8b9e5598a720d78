import type { Btf } from '../../../btf/btf.ts';
import { RawbpfError } from '../../../error.ts';
import { BPF_ATTACH_TYPE, BPF_PROG_TYPE } from '../../uapi/index.ts';
import type { AppliedCoreRelocation, LinkedProgram, LinkedStructOps, LinkResult } from '../linked.ts';
import type { ObjectSpec, ProgramSpec } from '../spec.ts';
import type { TargetKernel } from '../target.ts';
import { ContextArguments } from './arg-ctx.ts';
import { findAttachTarget } from './attach-target.ts';
import { type AppliedInBody, FunctionBodies } from './bodies.ts';
import { joinExtInfo } from './ext-info.ts';
import { resolveExterns, type ResolvedExterns } from './externs.ts';
import { type JoinedFunction, joinProgram } from './join.ts';
import { patchReferences, type PatchWorld, replaceProbeReads } from './patch.ts';
import { type ResolvedStructOps, resolveStructOps } from './struct-ops.ts';

/** How an object is linked. */
export interface LinkOptions {
  /** Which programs load, instead of those whose `autoload` says so: only their CO-RE relocations are looked at. */
  readonly programs?: readonly ProgramSpec[];
  /** The kernel's page size, for the place of arena globals; 4096 unless said. */
  readonly pageSize?: number;
}

/**
 * An object on one kernel: what its programs share (externs, struct_ops, CO-RE candidates) is worked out once, then programs are linked
 * one by one.
 */
export class LinkSession {
  readonly spec: ObjectSpec;
  readonly target: TargetKernel;
  /** Contents of the .kconfig map, null where the object has none. */
  readonly kconfig: Uint8Array | null;
  /** Modules in the order of fd_array, from index 1. */
  readonly modules: readonly string[];
  readonly structOps: readonly LinkedStructOps[];
  /** Where in the arena its globals go. */
  readonly arenaOffset: number;
  /** The programs that load. */
  readonly programs: readonly ProgramSpec[];
  /** What libbpf gives the whole object up for, the first of it; null for nothing. A program that has no part in it may still link. */
  readonly error: RawbpfError | null;
  readonly #externs: ResolvedExterns;
  readonly #structOps: ResolvedStructOps;
  readonly #world: PatchWorld;
  readonly #contextArguments: ContextArguments | null;
  #bodies: FunctionBodies | null = null;

  constructor(spec: ObjectSpec, target: TargetKernel, options: LinkOptions = {}) {
    this.spec = spec;
    this.target = target;
    this.#externs = resolveExterns(spec, target);
    this.#contextArguments = spec.btf === null ? null : new ContextArguments(spec.btf);
    this.#structOps = resolveStructOps(spec, target);
    this.kconfig = this.#externs.kconfig;
    this.modules = this.#externs.modules;
    this.structOps = this.#structOps.maps;
    this.arenaOffset = arenaOffset(spec, target, options.pageSize ?? 4096);
    this.programs = options.programs ?? spec.programs.filter((program) => this.#structOps.loads.get(program.name) ?? program.autoload);
    const maps = new Map(spec.maps.map((map, index) => [map.name, { map, index }]));
    this.#world = { spec, externs: this.#externs, arenaOffset: this.arenaOffset, maps };
    const [structOpsError] = this.#structOps.errors.values();
    this.error = this.#externs.error ?? structOpsError ?? this.#functionBodies().error;
  }

  /** By struct_ops map, the size of the kernel's struct, as far as libbpf would have come. */
  get structOpsSizes(): ReadonlyMap<string, number> {
    return this.#structOps.sizes;
  }

  /** Whether what libbpf gives the object up for is an extern that cannot be found. */
  get hasExternError(): boolean {
    return this.#externs.error !== null;
  }

  /** The BTF to load: the object's, with what the programs linked up to now need of it on an older kernel; null where the object has none. */
  get btf(): Btf | null {
    return this.#contextArguments?.btf ?? null;
  }

  /** Links one program; never throws for what is wrong with the program. */
  link(program: ProgramSpec): LinkResult {
    try {
      if (this.spec.strict && this.error !== null) throw this.error;
      return { ok: true, program: this.#link(program) };
    } catch (error) {
      if (!(error instanceof RawbpfError)) throw error;
      return { ok: false, spec: program, error };
    }
  }

  #link(program: ProgramSpec): LinkedProgram {
    const joined = joinProgram(this.spec, program, this.#functionBodies());
    const { fixups, jumpTables } = patchReferences(this.#world, program, joined);
    replaceProbeReads(joined.slots, () => this.target.has('probe_read_kernel'));
    const structOps = this.#structOps.targets.get(program.name);
    const attach = structOps === undefined ? findAttachTarget(program, this.target) : { ...structOps, error: null };
    let coreRelocations: readonly AppliedCoreRelocation[] | null = null;
    const { funcInfo, lineInfo } = joinExtInfo(this.spec, program, joined.functions);
    return {
      spec: program,
      insns: joined.slots.bytes,
      fixups,
      funcInfo: this.#contextArguments?.fix(program, funcInfo, () => this.target.has('arg_ctx_tag')) ?? funcInfo,
      lineInfo,
      attachBtfId: attach.btfId,
      attachBtfModule: attach.module,
      attachError: attach.error,
      expectedAttachType: structOps?.member ?? this.#expectedAttachType(program),
      // Thousands in a large program, and seldom looked at.
      get coreRelocations() {
        return (coreRelocations ??= joined.functions.flatMap((fn) => fn.core.map((applied) => new AppliedRelocation(fn, applied))));
      },
      jumpTables,
      functions: joined.functions.map(({ fn, section, at }) => ({
        name: fn.name,
        sectionName: section.name,
        insn: at,
        sectionInsn: fn.insn,
        insnCount: fn.insnCount,
      })),
    };
  }

  #expectedAttachType(program: ProgramSpec): number {
    // One link for all places of a probe, where the kernel has it.
    if (program.section?.attach === 'usdt' && program.type === BPF_PROG_TYPE.BPF_PROG_TYPE_KPROBE && this.target.has('uprobe_multi')) {
      return BPF_ATTACH_TYPE.BPF_TRACE_UPROBE_MULTI;
    }
    return program.expectedAttachType ?? 0;
  }

  #functionBodies(): FunctionBodies {
    if (this.#bodies === null) {
      const loads = new Set(this.programs);
      this.#bodies = new FunctionBodies(this.spec, this.target, (program) => loads.has(program));
    }
    return this.#bodies;
  }
}

/** Globals lie at the end of the arena, where the kernel lets instructions point there. */
function arenaOffset(spec: ObjectSpec, target: TargetKernel, pageSize: number): number {
  const arena = spec.maps.find(({ origin, data }) => origin === 'btf' && data !== null);
  if (arena?.data === undefined || arena.data === null || !target.has('ldimm64_full_range_off')) return 0;
  return arena.maxEntries * pageSize - Math.ceil(arena.data.length / pageSize) * pageSize;
}

/** The texts are made when they are asked for: most are never. */
class AppliedRelocation implements AppliedCoreRelocation {
  readonly insn: number;
  readonly #applied: AppliedInBody;

  constructor(fn: JoinedFunction, applied: AppliedInBody) {
    this.insn = fn.at + applied.insn;
    this.#applied = applied;
  }

  get kind(): string {
    return this.#applied.resolution.kindName;
  }

  get local(): string {
    return this.#applied.resolution.local;
  }

  get target(): string | null {
    return this.#applied.resolution.target;
  }

  get poisoned(): boolean {
    return this.#applied.poisoned;
  }

  get reason(): string | null {
    return this.#applied.resolution.reason;
  }

  get value(): bigint | null {
    return this.poisoned ? null : this.#applied.resolution.value;
  }
}
