import type { Btf } from '../../../btf/btf.ts';
import { essentialName } from '../../../btf/core/essential-name.ts';
import { knownSizeOf, skipModifiersAndTypedefs } from '../../../btf/resolve.ts';
import type { BtfComposite, BtfMember } from '../../../btf/types.ts';
import { RawbpfError } from '../../../error.ts';
import { BPF_PROG_TYPE } from '../../uapi/index.ts';
import type { LinkedStructOps } from '../linked.ts';
import type { MapSpec, ObjectSpec, ProgramSpec } from '../spec.ts';
import type { TargetKernel } from '../target.ts';
import { LinkError } from './error.ts';
import { findKernelType, type KernelType } from './externs.ts';

/** What a struct_ops program implements: attach_btf_id is the kernel's struct, expected_attach_type the member's index. */
export interface StructOpsTarget {
  readonly btfId: number;
  readonly module: string;
  readonly member: number;
}

/** struct_ops of an object on one kernel. */
export interface ResolvedStructOps {
  readonly maps: readonly LinkedStructOps[];
  readonly targets: ReadonlyMap<string, StructOpsTarget>;
  /** Programs whether they load, where struct_ops maps decide it; others are not listed. */
  readonly loads: ReadonlyMap<string, boolean>;
  /** By map, the size of the kernel's struct around it; also of maps that fail once it is found, as libbpf sizes them. */
  readonly sizes: ReadonlyMap<string, number>;
  /** Failures by map. */
  readonly errors: ReadonlyMap<string, RawbpfError>;
}

/** Fits the struct_ops variables of an object to the kernel's structs: by member names, so that layouts may differ. */
export function resolveStructOps(spec: ObjectSpec, target: TargetKernel): ResolvedStructOps {
  const maps: LinkedStructOps[] = [];
  const targets = new Map<string, StructOpsTarget>();
  const errors = new Map<string, RawbpfError>();
  const sizes = new Map<string, number>();
  const declared = spec.maps.filter(({ structOps }) => structOps !== null);
  for (const map of declared) {
    if (!map.autocreate || spec.btf === null) continue;
    try {
      const fit = new StructOpsFit(spec, spec.btf, map, target, targets);
      const { size } = fit.wrapper;
      // libbpf looks at no map after one that failed.
      if (!spec.strict || errors.size === 0) sizes.set(map.name, size);
      maps.push(fit.fit());
    } catch (error) {
      if (!(error instanceof RawbpfError)) throw error;
      errors.set(map.name, error);
    }
  }
  return { maps, targets, loads: loadsOf(declared), sizes, errors };
}

/** A program that struct_ops maps refer to is loaded if one of them is created. */
function loadsOf(maps: readonly MapSpec[]): ReadonlyMap<string, boolean> {
  const loads = new Map<string, boolean>();
  for (const map of maps) {
    for (const { program } of map.structOps?.programs ?? []) loads.set(program, (loads.get(program) ?? false) || map.autocreate);
  }
  return loads;
}

class StructOpsFit {
  readonly #spec: ObjectSpec;
  readonly #btf: Btf;
  readonly #map: MapSpec;
  readonly #target: TargetKernel;
  readonly #targets: Map<string, StructOpsTarget>;
  readonly #local: BtfComposite;
  readonly #value: KernelType;
  readonly #kernelId: number;
  readonly #holder: BtfMember;
  /** The kernel's struct around the one that the map is of. */
  readonly wrapper: BtfComposite;

  /** Finds the kernel's types; throws E_STRUCT_OPS where it has none. */
  constructor(spec: ObjectSpec, btf: Btf, map: MapSpec, target: TargetKernel, targets: Map<string, StructOpsTarget>) {
    this.#spec = spec;
    this.#btf = btf;
    this.#map = map;
    this.#target = target;
    this.#targets = targets;
    const local = (this.#local = this.#struct(this.#btf, this.#map.structOps?.typeId ?? 0));
    const name = essentialName(local.name);
    const value = findKernelType(this.#target, `bpf_struct_ops_${name}`, 'STRUCT');
    if (value === null) throw this.#error(`the kernel has no struct bpf_struct_ops_${name}`);
    const kernelId = value.btf.findByName(name, 'STRUCT');
    if (kernelId === null) throw this.#error(`the kernel has no struct ${name}`);
    const wrapper = this.#struct(value.btf, value.id);
    const holder = wrapper.members.find(({ typeId }) => typeId === kernelId);
    if (holder === undefined) throw this.#error(`struct ${name} is not in struct ${wrapper.name}`);
    this.#value = value;
    this.#kernelId = kernelId;
    this.#holder = holder;
    this.wrapper = wrapper;
  }

  fit(): LinkedStructOps {
    const { wrapper } = this;
    const [value, kernelId] = [this.#value, this.#kernelId];
    const base = Math.floor(this.#holder.bitOffset / 8);
    const data = new Uint8Array(wrapper.size);
    const programs: { offset: number; program: string }[] = [];
    const kernel = this.#struct(value.btf, kernelId);
    this.#local.members.forEach((member, index) => {
      const program = this.#member(member, index, kernel, value, kernelId, data, base);
      if (program !== null) programs.push(program);
    });
    return { map: this.#map.name, valueSize: wrapper.size, valueTypeId: value.id, module: value.module, data, programs };
  }

  /** Copies one member, or says where its program goes. */
  #member(
    member: BtfMember,
    index: number,
    kernel: BtfComposite,
    { btf, module }: KernelType,
    kernelId: number,
    data: Uint8Array,
    base: number,
  ): { offset: number; program: string } | null {
    const from = Math.floor(member.bitOffset / 8);
    const size = knownSizeOf(this.#btf, member.typeId);
    if (size === null) throw this.#error(`member ${member.name} has no size`);
    const bytes = (this.#map.data ?? new Uint8Array(0)).subarray(from, from + size);
    const slot = this.#map.structOps?.programs.find((candidate) => candidate.member === index) ?? null;
    const theirIndex = kernel.members.findIndex(({ name }) => name === member.name);
    const theirs = kernel.members[theirIndex];
    if (theirs === undefined) {
      if (slot === null && bytes.every((byte) => byte === 0)) return null;
      throw this.#error(`the kernel's struct ${kernel.name} has no member ${member.name}, and it is not zero`);
    }
    if (member.bitSize !== 0 || theirs.bitSize !== 0) throw this.#error(`member ${member.name} is a bitfield`);
    const mine = this.#btf.type(skipModifiersAndTypedefs(this.#btf, member.typeId));
    const theirId = skipModifiersAndTypedefs(btf, theirs.typeId);
    const theirType = btf.type(theirId);
    if (mine.kind !== theirType.kind) throw this.#error(`member ${member.name} is a ${mine.kind}, the kernel's a ${theirType.kind}`);
    const to = base + Math.floor(theirs.bitOffset / 8);
    if (mine.kind === 'PTR') {
      if (slot === null || theirType.kind !== 'PTR') return null;
      if (btf.type(skipModifiersAndTypedefs(btf, theirType.typeId)).kind !== 'FUNC_PROTO')
        throw this.#error(`the kernel's member ${member.name} is no pointer to a function`);
      this.#use(slot.program, { btfId: kernelId, module, member: theirIndex });
      return { offset: to, program: slot.program };
    }
    const theirSize = knownSizeOf(btf, theirId);
    if (theirSize !== size) throw this.#error(`member ${member.name} has ${size} bytes, the kernel's ${theirSize}`);
    if (to + size > data.length) throw this.#error(`the kernel's member ${member.name} passes the end of its struct`);
    data.set(bytes, to);
    return null;
  }

  /** A program may be shared by variables of one struct, for one member. */
  #use(name: string, target: StructOpsTarget): void {
    const program = this.#spec.programs.find((candidate: ProgramSpec) => candidate.name === name);
    if (program?.type !== BPF_PROG_TYPE.BPF_PROG_TYPE_STRUCT_OPS) throw this.#error(`${name} is no struct_ops program`);
    const known = this.#targets.get(name);
    if (known !== undefined && (known.btfId !== target.btfId || known.member !== target.member))
      throw this.#error(`program ${name} is used for two different members`);
    if (known === undefined) this.#targets.set(name, target);
  }

  #struct(btf: Btf, id: number): BtfComposite {
    const type = btf.type(id);
    if (type.kind !== 'STRUCT') throw this.#error(`type ${id} is a ${type.kind}, not a struct`);
    return type;
  }

  #error(why: string): LinkError {
    return new LinkError({ code: 'E_STRUCT_OPS', what: 'struct_ops do not fit this kernel', where: { map: this.#map.name }, why });
  }
}
