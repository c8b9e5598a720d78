import type { Btf } from '../btf.ts';
import { essentialName } from './essential-name.ts';
import { kindsCompatible, type Types as TypesView, Types } from './types.ts';

/** Where CO-RE looks for the types of the kernel that the programs are for. */
export interface CoreTargets {
  /** The kernel's BTF, or the one the user gave; null where there is none. Asked once, when first needed. */
  vmlinux(): Btf | null;
  /** Modules' BTF; asked only for types that vmlinux has not got. None where the user gave a BTF. */
  modules(): readonly { readonly name: string; readonly btf: Btf }[];
  /** Layouts made by the caller, looked at before the kernel's. */
  readonly extra: readonly Btf[];
  /** Whether this kernel has ring buffers, as a probe found: every question about them is answered by this. */
  readonly ringbuf: boolean;
}

/** A target type that a local type may stand for. */
export interface CoreCandidate {
  readonly types: TypesView;
  readonly typeId: number;
  /** `vmlinux`, a module's name, or `extra`. */
  readonly source: string;
}

/**
 * The candidates of one local root type, shared by all its relocations: each drops those that it does not fit, so that
 * all fields of one local struct come from the same target struct.
 */
export class CandidateList {
  items: readonly CoreCandidate[];
  /** Grows whenever candidates are dropped. */
  version = 0;

  constructor(items: readonly CoreCandidate[]) {
    this.items = items;
  }

  prune(left: readonly CoreCandidate[]): void {
    if (left.length === 0 || left.length === this.items.length) return;
    this.items = left;
    this.version++;
  }
}

/** Null where candidates were wanted and there is no BTF to look in. `others` are names whose candidates will be wanted, too. */
export function findCandidates(
  local: TypesView,
  localId: number,
  targets: CoreTargets,
  others: () => readonly string[],
): CandidateList | null {
  const root = local.type(localId);
  const name = essentialName(root.name);
  const from = (btf: Btf, source: string): CoreCandidate[] => {
    const types = Types.of(btf);
    return btf
      .findByEssentialName(name, others())
      .filter((typeId) => kindsCompatible(types.type(typeId), root))
      .map((typeId) => ({ types, typeId, source }));
  };

  const extra = targets.extra.flatMap((btf) => from(btf, 'extra'));
  if (extra.length > 0) return new CandidateList(extra);
  if (!targets.ringbuf && root.kind === 'STRUCT' && name === RINGBUF_STRUCT) return new CandidateList([]);
  const vmlinux = targets.vmlinux();
  if (vmlinux === null) return null;
  const main = from(vmlinux, 'vmlinux');
  if (main.length > 0) return new CandidateList(main);
  return new CandidateList(targets.modules().flatMap((module) => from(module.btf, module.name)));
}

/** The kernel's own struct behind a ring buffer map: programs ask for its existence to choose their way. */
const RINGBUF_STRUCT = 'bpf_ringbuf';
const RINGBUF_MAP_TYPE = 'BPF_MAP_TYPE_RINGBUF';
/** The helpers that came with ring buffers (Linux 5.8); later ones, as ringbuf_reserve_dynptr, are BTF's to tell. */
const FIRST_HELPERS: ReadonlySet<string> = new Set(
  ['output', 'reserve', 'submit', 'discard', 'query'].map((name) => `BPF_FUNC_ringbuf_${name}`),
);

/**
 * What the ring buffer decision says of an enumerator: false, it does not exist whatever BTF says; true, it exists even
 * where BTF has not got it; null, ask BTF.
 */
export function ringbufAnswer(enumName: string, enumerator: string, ringbuf: boolean): boolean | null {
  const name = essentialName(enumerator);
  switch (essentialName(enumName)) {
    case 'bpf_func_id':
      if (!name.startsWith('BPF_FUNC_ringbuf_')) return null;
      if (!ringbuf) return false;
      return FIRST_HELPERS.has(name) ? true : null;
    case 'bpf_map_type':
      return name === RINGBUF_MAP_TYPE && !ringbuf ? false : null;
    default:
      return null;
  }
}
