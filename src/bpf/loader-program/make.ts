import { BTF_KIND } from '../../btf/types.ts';
import { UnsupportedError } from '../../error.ts';
import { mapCreateAttr, mapElemAttr, progLoadAttr } from '../../sys/bpf-attr/index.ts';
import { btfLoadAttr } from '../../sys/bpf-attr/object.ts';
import { InsnSlots } from '../insn/insn.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { fitEntries } from '../map/create.ts';
import { refusesBtf } from '../map/shape.ts';
import { kernelObjectName } from '../object-name.ts';
import { FunctionBodies } from '../object/link/bodies.ts';
import { resolveExterns } from '../object/link/externs.ts';
import { POISON_KFUNC } from '../object/link/patch.ts';
import type { ExternSpec, MapSpec, ObjectSpec } from '../object/spec.ts';
import { BPF_F } from '../uapi/flags.gen.ts';
import { BPF_MAP_TYPE } from '../uapi/map-type.gen.ts';
import { Blob, type BlobAttr } from './blob.ts';
import { LoaderCode } from './code.ts';
import { type LaterReference, unboundProgram, type UnboundProgram } from './program.ts';

/** A map that a loader program makes, and where in its context the descriptor will be. */
export interface LoaderMap {
  readonly name: string;
  readonly libbpfName: string;
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly fdSlot: number;
}

/** A program that it loads. */
export interface LoaderEntry {
  readonly name: string;
  readonly type: number;
  readonly expectedAttachType: number;
  readonly fdSlot: number;
}

/**
 * A BPF program that loads an object from within the kernel (a light skeleton, in libbpf's words): one program to load, and one
 * signature over all that it will do. Relocations that depend on the kernel are done when it runs.
 */
export interface LoaderProgram {
  readonly insns: Uint8Array;
  /** Contents of the map that it works on. */
  readonly data: Uint8Array;
  /** Bytes of its context. */
  readonly contextSize: number;
  readonly maps: readonly LoaderMap[];
  readonly programs: readonly LoaderEntry[];
  /** Slots of the four words that are the hash of `data` in a signed one; empty where it is not to be signed. */
  readonly hashSlots: readonly number[];
}

export interface LoaderOptions {
  /** Lets it run only on the very data that it was made with: what signing needs (Linux 6.18). */
  readonly signed?: boolean;
}

/** Context: size, log level, log size, log buffer, then descriptors. */
export const contextHead = { logLevel: 4, logSize: 8, logBuffer: 16, size: 24 } as const;

/**
 * Makes the loader program of an object: its maps with their contents, and the programs that have `autoload`. Values of kconfig
 * externs are those of this kernel. Throws UnsupportedError `E_LOADER_...` for what such a program cannot do: struct_ops, arenas, jump
 * tables, pinned maps, slots of prog arrays, programs that extend others.
 *
 * @example
 * import { defaultKernel, makeLoader, runLoader } from 'rawbpf';
 * import { openObject } from 'rawbpf/object';
 * export function load(object: Uint8Array): void {
 *   const loaded = runLoader(defaultKernel(), makeLoader(defaultKernel(), openObject(object)));
 *   console.log([...loaded.programs.keys()]);
 *   loaded.close();
 * }
 */
export function makeLoader(kernel: Kernel, spec: ObjectSpec, options: LoaderOptions = {}): LoaderProgram {
  if (!spec.littleEndian) throw unsupported('its byte order is not this machine’s', { object: spec.name });
  return new Maker(kernel, spec, options.signed === true).make();
}

class Maker {
  readonly #kernel: Kernel;
  readonly #spec: ObjectSpec;
  readonly #signed: boolean;
  readonly #blob = new Blob();
  readonly #code = new LoaderCode();
  readonly #maps: readonly MapSpec[];
  readonly #externs: readonly ExternSpec[];
  /** Descriptors in the context: BTF, maps, programs, modules' BTF, a template of inner maps. */
  readonly #btfSlot: number = contextHead.size;
  readonly #templateSlot: number = contextHead.size + 4;
  #nextSlot = contextHead.size + 8;
  readonly #fdArray: number;

  constructor(kernel: Kernel, spec: ObjectSpec, signed: boolean) {
    this.#kernel = kernel;
    this.#spec = spec;
    this.#signed = signed;
    this.#maps = spec.maps.filter(({ autocreate }) => autocreate);
    this.#externs = spec.externs.filter(({ kind }) => kind !== 'kconfig');
    // Place 0 of fd_array is vmlinux; then maps, then the modules of externs.
    this.#fdArray = this.#blob.zeros((1 + this.#maps.length + this.#externs.length) * 4);
  }

  make(): LoaderProgram {
    const { kconfig, error } = resolveExterns(
      { ...this.#spec, externs: this.#spec.externs.filter(({ kind }) => kind === 'kconfig') },
      this.#kernel.target(),
    );
    if (error !== null) throw error;
    const bodies = new FunctionBodies({ ...this.#spec, btfExt: null }, this.#kernel.target(), () => true);
    const programs = this.#spec.programs
      .filter(({ autoload }) => autoload)
      .map((program) => unboundProgram(this.#spec, program, bodies, (name) => this.#mapIndex(name)));
    const maps = this.#maps.map((map) => this.#describe(map));
    const entries = programs.map(({ spec }) => ({
      name: spec.name,
      type: spec.type,
      expectedAttachType: spec.expectedAttachType ?? 0,
      fdSlot: this.#slot(),
    }));
    const modules = new Map(this.#externs.map((extern) => [extern, this.#slot()]));
    const attachModules = programs.map(({ attachTo }) => (attachTo === null ? null : this.#slot()));
    const slots = Array.from({ length: (this.#nextSlot - this.#btfSlot) / 4 }, (_, i) => this.#btfSlot + i * 4);
    this.#code.begin(slots);
    const hashSlots = this.#signed ? this.#code.checkHash() : [];
    this.#loadBtf();
    this.#maps.forEach((map, i) => this.#createMap(map, maps[i] as LoaderMap, kconfig));
    this.#fillOuterMaps();
    const places = programs.map((program) => this.#blob.add(program.insns));
    for (const extern of this.#externs) this.#bindExtern(extern, modules.get(extern) ?? 0, programs, places);
    programs.forEach((program, i) =>
      this.#loadProgram(program, places[i] as number, (entries[i] as LoaderEntry).fdSlot, attachModules[i] ?? null),
    );
    // What maps and programs hold themselves.
    for (const slot of [this.#btfSlot, ...modules.values(), ...attachModules]) if (slot !== null) this.#code.closeFd(slot);
    this.#code.end();
    return {
      insns: this.#code.encode(),
      data: this.#blob.encode(),
      contextSize: Math.ceil(this.#nextSlot / 8) * 8,
      maps,
      programs: entries,
      hashSlots,
    };
  }

  #slot(): number {
    const slot = this.#nextSlot;
    this.#nextSlot += 4;
    return slot;
  }

  #mapIndex(name: string): number {
    const index = this.#maps.findIndex((map) => map.name === name);
    if (index === -1) throw unsupported('a program uses a map that is not created', { map: name });
    return index + 1;
  }

  #describe(map: MapSpec): LoaderMap {
    const refused =
      map.structOps !== null ? 'it is for struct_ops' : map.type === BPF_MAP_TYPE.BPF_MAP_TYPE_ARENA ? 'it is an arena' : null;
    const why =
      refused ?? (map.pinning !== 0 ? 'it is pinned' : map.slots.some(({ kind }) => kind === 'program') ? 'it holds programs' : null);
    if (why !== null) throw unsupported(why, { map: map.name });
    return {
      name: map.name,
      libbpfName: map.libbpfName,
      type: map.type,
      keySize: map.keySize,
      valueSize: map.valueSize,
      maxEntries: fitEntries(this.#kernel, map.type, map.maxEntries),
      flags: map.flags,
      fdSlot: this.#slot(),
    };
  }

  #loadBtf(): void {
    const { btf } = this.#spec;
    if (btf === null) return;
    const attr = this.#blob.attr(btfLoadAttr, { btf_size: btf.bytes.length });
    this.#code.pointer(attr.field('btf'), this.#blob.add(btf.bytes));
    this.#code.sys('BPF_BTF_LOAD', attr);
    this.#code.keepFd(this.#btfSlot, []);
  }

  #createMap(map: MapSpec, described: LoaderMap, kconfig: Uint8Array | null): void {
    const attr = this.#mapAttr(map, described.maxEntries);
    if (map.inner !== null) {
      const inner = this.#mapAttr(map.inner, fitEntries(this.#kernel, map.inner.type, map.inner.maxEntries));
      this.#code.sys('BPF_MAP_CREATE', inner);
      this.#code.keepFd(this.#templateSlot, [attr.field('inner_map_fd')]);
    }
    this.#code.sys('BPF_MAP_CREATE', attr);
    this.#code.keepFd(described.fdSlot, [this.#fdArray + this.#mapIndex(map.name) * 4]);
    if (map.inner !== null) this.#code.closeFd(this.#templateSlot);
    const data = map.origin === 'kconfig' ? (kconfig ?? map.data) : map.data;
    if (data !== null) this.#fill(described, data, (map.flags & BPF_F.BPF_F_RDONLY_PROG) !== 0);
  }

  #mapAttr(map: MapSpec, maxEntries: number): BlobAttr {
    const isTyped = this.#spec.btf !== null && !refusesBtf(map.type) && (map.keyTypeId !== 0 || map.valueTypeId !== 0);
    if (map.inner !== null && map.inner.inner !== null) throw unsupported('its inner maps hold maps', { map: map.name });
    const attr = this.#blob.attr(mapCreateAttr, {
      map_type: map.type,
      key_size: map.keySize,
      value_size: map.valueSize,
      max_entries: maxEntries,
      map_flags: map.flags | (map.numaNode === 0 ? 0 : BPF_F.BPF_F_NUMA_NODE),
      numa_node: map.numaNode,
      map_name: kernelObjectName(map.libbpfName),
      map_extra: map.mapExtra,
      ...(isTyped ? { btf_key_type_id: map.keyTypeId, btf_value_type_id: map.valueTypeId } : {}),
    });
    if (isTyped) this.#code.fromContext(this.#btfSlot, attr.field('btf_fd'));
    return attr;
  }

  #fill(map: LoaderMap, data: Uint8Array, freeze: boolean): void {
    const value = new Uint8Array(map.valueSize);
    value.set(data.subarray(0, map.valueSize));
    const attr = this.#blob.attr(mapElemAttr, {});
    this.#code.fromContext(map.fdSlot, attr.field('map_fd'));
    this.#code.pointer(attr.field('key'), this.#blob.zeros(4));
    this.#code.pointer(attr.field('value'), this.#blob.add(value));
    this.#code.sys('BPF_MAP_UPDATE_ELEM', attr);
    if (!freeze) return;
    const frozen = this.#blob.attr(mapElemAttr, {});
    this.#code.fromContext(map.fdSlot, frozen.field('map_fd'));
    this.#code.sys('BPF_MAP_FREEZE', frozen);
  }

  #fillOuterMaps(): void {
    for (const map of this.#maps) {
      for (const slot of map.slots) {
        const attr = this.#blob.attr(mapElemAttr, {});
        const value = this.#blob.zeros(4);
        const key = this.#blob.add(new Uint8Array(Uint32Array.of(slot.index).buffer));
        this.#copyFd(map.name, attr.field('map_fd'));
        this.#copyFd(slot.name, value);
        this.#code.pointer(attr.field('key'), key);
        this.#code.pointer(attr.field('value'), value);
        this.#code.sys('BPF_MAP_UPDATE_ELEM', attr);
      }
    }
  }

  /** Maps' descriptors follow those of BTF and template in the context, in the order of the maps. */
  #copyFd(map: string, to: number): void {
    this.#code.fromContext(this.#templateSlot + this.#mapIndex(map) * 4, to);
  }

  /** Looks an extern up, and writes it into every instruction that names it. */
  #bindExtern(extern: ExternSpec, moduleSlot: number, programs: readonly UnboundProgram[], places: readonly number[]): void {
    const uses = programs.flatMap((program, i) =>
      program.later.filter((later) => later.extern === extern).map((later) => new Use(program, places[i] as number, later)),
    );
    if (uses.length === 0) return;
    const code = this.#code;
    const name = extern.kind === 'kfunc' ? extern.name.replace(/___.*$/, '') : extern.name;
    const nameAt = this.#blob.text(name);
    if (extern.kind === 'ksym') code.findSymbol(nameAt, name.length + 1);
    else code.findType(nameAt, name.length + 1, extern.kind === 'kfunc' ? BTF_KIND.FUNC : BTF_KIND.VAR);
    const found = (): void => {
      const index = 1 + this.#maps.length + this.#externs.indexOf(extern);
      for (const use of uses) {
        if (extern.kind === 'ksym') code.storeAddress(use.imm, use.nextImm);
        else code.storeId(use.imm);
      }
      if (extern.kind === 'ksym') return;
      code.ifModule(() => {
        code.keepModule(moduleSlot);
        code.storeModule(this.#fdArray + index * 4);
        for (const use of uses) {
          if (use.isCall) code.storeImm('H', use.off, index);
          else code.storeModule(use.nextImm);
        }
      });
    };
    if (!extern.weak) {
      code.failIfNegative();
      found();
      return;
    }
    code.ifFound(found, () => {
      for (const use of uses) {
        // A variable that is not there has the address 0, a call is made invalid: the verifier drops it where it cannot be reached.
        code.storeImm('B', use.registers, use.destination);
        if (use.isCall) code.storeImm('W', use.imm, POISON_KFUNC + this.#spec.externs.indexOf(extern));
      }
    });
  }

  #loadProgram(program: UnboundProgram, insnsAt: number, fdSlot: number, moduleSlot: number | null): void {
    const { spec, insns, funcInfo, lineInfo, coreRelos, attachTo } = program;
    const code = this.#code;
    const withBtf = this.#spec.btf !== null;
    const attr = this.#blob.attr(progLoadAttr, {
      prog_type: spec.type,
      insn_cnt: insns.length / 8,
      kern_version: this.#spec.kernVersion,
      prog_flags: spec.flags,
      prog_name: kernelObjectName(spec.name),
      expected_attach_type: spec.expectedAttachType ?? 0,
      ...(withBtf && funcInfo.count > 0 ? { func_info_rec_size: funcInfo.recordSize, func_info_cnt: funcInfo.count } : {}),
      ...(withBtf && lineInfo.count > 0 ? { line_info_rec_size: lineInfo.recordSize, line_info_cnt: lineInfo.count } : {}),
      ...(coreRelos.length > 0 ? { core_relo_cnt: coreRelos.length / 16, core_relo_rec_size: 16 } : {}),
    });
    code.pointer(attr.field('insns'), insnsAt);
    code.pointer(attr.field('license'), this.#blob.text(this.#spec.license));
    code.pointer(attr.field('fd_array'), this.#fdArray);
    code.fromContext(contextHead.logLevel, attr.field('log_level'));
    code.fromContext(contextHead.logSize, attr.field('log_size'));
    code.fromContext(contextHead.logBuffer, attr.field('log_buf'), 'DW');
    if (withBtf) {
      code.fromContext(this.#btfSlot, attr.field('prog_btf_fd'));
      if (funcInfo.count > 0) code.pointer(attr.field('func_info'), this.#blob.add(funcInfo.bytes));
      if (lineInfo.count > 0) code.pointer(attr.field('line_info'), this.#blob.add(lineInfo.bytes));
      if (coreRelos.length > 0) code.pointer(attr.field('core_relos'), this.#blob.add(coreRelos));
    }
    if (attachTo !== null && moduleSlot !== null) {
      code.findType(this.#blob.text(attachTo.name), attachTo.name.length + 1, attachTo.kind);
      code.failIfNegative();
      code.storeId(attr.field('attach_btf_id'));
      code.ifModule(() => {
        code.keepModule(moduleSlot);
        code.storeModule(attr.field('attach_btf_obj_fd'));
      });
    }
    code.sys('BPF_PROG_LOAD', attr);
    code.keepFd(fdSlot, []);
  }
}

/** Where the parts of an instruction are in the blob. */
class Use {
  readonly registers: number;
  readonly off: number;
  readonly imm: number;
  readonly nextImm: number;
  readonly isCall: boolean;
  /** The registers byte without a source. */
  readonly destination: number;

  constructor({ insns }: UnboundProgram, place: number, { insn, isCall }: LaterReference) {
    this.isCall = isCall;
    const at = place + insn * 8;
    this.registers = at + 1;
    this.off = at + 2;
    this.imm = at + 4;
    this.nextImm = at + 12;
    this.destination = new InsnSlots(insns).dst(insn);
  }
}

function unsupported(why: string, where: Readonly<Record<string, string>>): UnsupportedError {
  return new UnsupportedError({
    code: 'E_LOADER_MAP',
    what: 'a loader program cannot load this object',
    where,
    why,
    next: 'load the object itself',
  });
}
