import { BPF_OPCODE } from '../../insn/opcodes.ts';
import type { InsnSlots } from '../../insn/insn.ts';
import { BPF_FUNC, BPF_PSEUDO } from '../../uapi/index.ts';
import type { RawbpfError } from '../../../error.ts';
import type { Fixup } from '../linked.ts';
import type { MapSpec, ObjectSpec, ProgramSpec, RelocationTarget } from '../spec.ts';
import { LinkError, placeOf } from './error.ts';
import type { ResolvedExterns } from './externs.ts';
import { type JoinedFunction, type JoinedProgram, relocationsIn } from './join.ts';

/** What instructions refer to, on one kernel. */
export interface PatchWorld {
  readonly spec: ObjectSpec;
  readonly externs: ResolvedExterns;
  /** Where the globals of the arena begin within it. */
  readonly arenaOffset: number;
  readonly maps: ReadonlyMap<string, { readonly map: MapSpec; readonly index: number }>;
}

/** What patching leaves to do when the program is loaded. */
export interface Patched {
  readonly fixups: readonly Fixup[];
  readonly jumpTables: readonly Uint32Array[];
}

/**
 * Helper numbers that stand in for what is not there: with the index of the map or extern added, the verifier names them
 * where such code can be reached. The same as libbpf's.
 */
export const POISON_MAP = 2_001_000_000;
export const POISON_KFUNC = 2_002_000_000;

/** Puts maps, variables and externs into a joined program's instructions; file descriptors stay zero. */
export function patchReferences(world: PatchWorld, program: ProgramSpec, joined: JoinedProgram): Patched {
  const patch = new Patch(world, program, joined.slots);
  for (const fn of joined.functions) {
    for (const { at, relocation } of relocationsIn(fn)) patch.apply(at, relocation.target, fn);
  }
  return { fixups: patch.fixups, jumpTables: patch.jumpTables };
}

class Patch {
  readonly fixups: Fixup[] = [];
  readonly jumpTables: Uint32Array[] = [];
  readonly #world: PatchWorld;
  readonly #program: ProgramSpec;
  readonly #slots: InsnSlots;
  readonly #tableByOffset = new Map<number, number>();

  constructor(world: PatchWorld, program: ProgramSpec, slots: InsnSlots) {
    this.#world = world;
    this.#program = program;
    this.#slots = slots;
  }

  apply(at: number, target: RelocationTarget, fn: JoinedFunction): void {
    switch (target.kind) {
      case 'map':
        this.#map(at, target.map);
        break;
      case 'map_value':
        this.#mapValue(at, target.map, target.offset);
        break;
      case 'extern_var':
        this.#externVariable(at, target.extern);
        break;
      case 'extern_call':
        this.#externCall(at, target.extern);
        break;
      case 'insn_array':
        this.#jumpTable(at, target.offset, target.size, fn);
        break;
      case 'undefined':
        throw this.#error(
          'E_UNDEFINED',
          'an undefined symbol is used',
          at,
          `nothing defines ${target.symbol}`,
          'link the object that defines it, or declare it __ksym',
        );
      case 'call':
      case 'func':
        break;
    }
  }

  #map(at: number, name: string): void {
    const { map, index } = this.#known(name, at);
    if (!map.autocreate) return this.#poisonMap(at, index);
    this.#slots.setSrc(at, BPF_PSEUDO.BPF_PSEUDO_MAP_FD);
    this.#slots.setImm(at, 0);
    this.fixups.push({ insn: at, kind: 'map_fd', map: name });
  }

  #mapValue(at: number, name: string, offset: number): void {
    const { map, index } = this.#known(name, at);
    if (!map.autocreate) return this.#poisonMap(at, index);
    this.#slots.setSrc(at, BPF_PSEUDO.BPF_PSEUDO_MAP_VALUE);
    this.#slots.setImm(at, 0);
    const inArena = map.origin === 'btf' && map.data !== null;
    this.#slots.setImm(at + 1, offset + (inArena ? this.#world.arenaOffset : 0));
    this.fixups.push({ insn: at, kind: 'map_value_fd', map: name });
  }

  /** Both slots: a half of an ldimm64 would be an unknown opcode. */
  #poisonMap(at: number, index: number): void {
    for (const slot of [at, at + 1]) this.#slots.set(slot, { code: BPF_OPCODE.CALL, dst: 0, src: 0, off: 0, imm: POISON_MAP + index });
  }

  #externVariable(at: number, name: string): void {
    const resolved = this.#world.externs.byName.get(name);
    switch (resolved?.kind) {
      case 'kconfig':
        return this.#mapValue(at, '.kconfig', resolved.offset);
      case 'address':
        this.#slots.setImm(at, Number(BigInt.asIntN(32, resolved.address)));
        this.#slots.setImm(at + 1, Number(BigInt.asIntN(32, resolved.address >> 32n)));
        return;
      case 'btf':
        this.#slots.setSrc(at, BPF_PSEUDO.BPF_PSEUDO_BTF_ID);
        this.#slots.setImm(at, resolved.btfId);
        this.#slots.setImm(at + 1, 0);
        if (resolved.module !== '') this.fixups.push({ insn: at, kind: 'ksym_btf_fd', module: resolved.module });
        return;
      case 'absent':
        this.#slots.setImm(at, 0);
        this.#slots.setImm(at + 1, 0);
        return;
      default:
        throw this.#externError(name, at, resolved?.error ?? null);
    }
  }

  #externCall(at: number, name: string): void {
    const resolved = this.#world.externs.byName.get(name);
    switch (resolved?.kind) {
      case 'btf':
        this.#slots.setSrc(at, BPF_PSEUDO.BPF_PSEUDO_KFUNC_CALL);
        this.#slots.setImm(at, resolved.btfId);
        this.#slots.setOff(at, resolved.fdArrayIndex);
        if (resolved.module !== '') {
          this.fixups.push({ insn: at, kind: 'module_btf_fd', module: resolved.module, fdArrayIndex: resolved.fdArrayIndex });
        }
        return;
      case 'absent':
        this.#slots.set(at, {
          code: BPF_OPCODE.CALL,
          dst: 0,
          src: 0,
          off: 0,
          imm: POISON_KFUNC + (this.#world.externs.indexOf.get(name) ?? 0),
        });
        return;
      case 'failed':
        throw this.#externError(name, at, resolved.error);
      default:
        throw this.#error('E_EXTERN', 'an extern is called that is no function', at, `${name} is a variable`);
    }
  }

  /** Entries are byte offsets in the section of the code that jumps; they become slots of the joined program. */
  #jumpTable(at: number, offset: number, size: number, fn: JoinedFunction): void {
    let index = this.#tableByOffset.get(offset);
    if (index === undefined) {
      index = this.jumpTables.push(this.#readTable(at, offset, size, fn)) - 1;
      this.#tableByOffset.set(offset, index);
    }
    this.#slots.setSrc(at, BPF_PSEUDO.BPF_PSEUDO_MAP_VALUE);
    this.#slots.setOff(at, 0);
    this.#slots.setImm(at, 0);
    this.fixups.push({ insn: at, kind: 'jump_table_fd', table: index });
  }

  #readTable(at: number, offset: number, size: number, fn: JoinedFunction): Uint32Array {
    const bytes = this.#world.spec.jumpTables;
    const bad = (why: string): RawbpfError => this.#error('E_JUMP_TABLE', 'malformed jump table', at, why);
    if (bytes === null) throw bad('there is no section .jumptables');
    if (offset % 8 !== 0 || size % 8 !== 0) throw bad(`${size} bytes at ${offset} are not whole entries`);
    if (offset + size > bytes.length) throw bad(`bytes ${offset} to ${offset + size} of a section of ${bytes.length}`);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return Uint32Array.from({ length: size / 8 }, (_, i) => {
      const entry = view.getBigUint64(offset + i * 8, this.#world.spec.littleEndian);
      const slot = entry / 8n - BigInt(fn.fn.insn) + BigInt(fn.at);
      if (slot < 0n || slot > 0xffffffffn) throw bad(`entry ${i} is ${entry}, outside of function ${fn.fn.name}`);
      return Number(slot);
    });
  }

  #known(name: string, at: number): { map: MapSpec; index: number } {
    const known = this.#world.maps.get(name);
    if (known !== undefined) return known;
    throw this.#error('E_LINK_MAP', 'a map is missing', at, `the object has no map ${name}`);
  }

  #externError(name: string, at: number, cause: RawbpfError | null): RawbpfError {
    const why = cause === null ? 'it was not looked for' : [cause.what, cause.why].filter((part) => part !== null).join(': ');
    const parts = { code: cause?.code ?? 'E_EXTERN', what: `cannot use extern ${name}`, where: placeOf(this.#program, at), why };
    return new LinkError({ ...parts, ...(cause === null ? {} : { cause, ...(cause.next === null ? {} : { next: cause.next }) }) });
  }

  #error(code: string, what: string, insn: number, why: string, next?: string): LinkError {
    return new LinkError({ code, what, where: placeOf(this.#program, insn), why, ...(next === undefined ? {} : { next }) });
  }
}

const { BPF_FUNC_probe_read, BPF_FUNC_probe_read_str } = BPF_FUNC;
const oldProbeReads: ReadonlyMap<number, number> = new Map([
  [BPF_FUNC.BPF_FUNC_probe_read_kernel, BPF_FUNC_probe_read],
  [BPF_FUNC.BPF_FUNC_probe_read_user, BPF_FUNC_probe_read],
  [BPF_FUNC.BPF_FUNC_probe_read_kernel_str, BPF_FUNC_probe_read_str],
  [BPF_FUNC.BPF_FUNC_probe_read_user_str, BPF_FUNC_probe_read_str],
]);

/** Kernels before 5.5 have one probe_read for both address spaces. Gives the changed instructions; asks the kernel only if there are any. */
export function replaceProbeReads(slots: InsnSlots, supported: () => boolean): void {
  const { bytes } = slots;
  for (let i = 0; i < slots.count; i++) {
    if (bytes[i * 8] !== BPF_OPCODE.CALL || slots.src(i) !== 0 || slots.dst(i) !== 0) continue;
    const old = oldProbeReads.get(slots.imm(i));
    if (old === undefined) continue;
    if (supported()) return;
    slots.setImm(i, old);
  }
}
