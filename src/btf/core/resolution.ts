import { coreKindName } from './kinds.ts';
import { type CoreSpec, formatSpec, specPath } from './spec.ts';
import type { CoreValue } from './value.ts';

/** What became of one candidate type. */
export interface CandidateReport {
  /** `vmlinux`, a module's name, or `extra`. */
  readonly source: string;
  readonly typeId: number;
  readonly name: string;
  /** The matching spec as libbpf prints it; null where the candidate does not fit. */
  readonly spec: string | null;
  /** Why it does not fit; null where it does. */
  readonly why: string | null;
}

/** What a CO-RE relocation comes to. The texts are made when they are asked for. */
export class CoreResolution implements CoreValue {
  readonly kind: number;
  /** What the instruction is to hold. */
  readonly value: bigint;
  /** What the compiler put there. */
  readonly original: bigint;
  readonly validate: boolean;
  /** The instruction is to be made invalid: what it wants is not in the target. */
  readonly poison: boolean;
  /** A load or store of the field is to be made invalid: its width cannot be adjusted. */
  readonly failMemszAdjust: boolean;
  /** Bytes a load moves, before and after; 0 where the relocation has no such size. */
  readonly originalSize: number;
  readonly newSize: number;
  /** Whether what the relocation names is there in the target. */
  readonly exists: boolean;
  readonly #local: CoreSpec;
  readonly #target: CoreSpec | null;
  readonly #report: () => CandidateReport[];
  readonly #decision: string | null;

  /** `decision` says why the answer is no where no candidate was asked. */
  constructor(
    local: CoreSpec,
    target: CoreSpec | null,
    value: CoreValue,
    exists: boolean,
    report: () => CandidateReport[],
    decision: string | null = null,
  ) {
    this.#decision = decision;
    this.kind = local.kind;
    this.value = value.value;
    this.original = value.original;
    this.validate = value.validate;
    this.poison = value.poison;
    this.failMemszAdjust = value.failMemszAdjust;
    this.originalSize = value.originalSize;
    this.newSize = value.newSize;
    this.exists = exists;
    this.#local = local;
    this.#target = target;
    this.#report = report;
  }

  /** libbpf's name of the kind: `byte_off`. */
  get kindName(): string {
    return coreKindName(this.kind);
  }

  /** The local access as libbpf's log prints it: `<byte_off> [7] struct task_struct.nsproxy (0:143 @ offset 2840)`. */
  get local(): string {
    return formatSpec(this.#local);
  }

  /** The same for the target; null where nothing matched, or no type of the target was looked at. */
  get target(): string | null {
    return this.#target === null ? null : formatSpec(this.#target);
  }

  /** The access in C's words: `struct task_struct.nsproxy`. */
  get path(): string {
    return specPath(this.#local);
  }

  /** Where the target type was found: its id in {@link CandidateReport}'s sense; null where nothing matched. */
  get targetTypeId(): number | null {
    return this.#target?.rootTypeId ?? null;
  }

  /** Why an instruction cannot have what it wants, in words; null where it can. */
  get reason(): string | null {
    if (this.#target !== null && this.failMemszAdjust)
      return `it has ${this.newSize} bytes there, and the access cannot be widened or narrowed`;
    if (this.exists) return null;
    if (this.#decision !== null) return this.#decision;
    const reasons = new Set(this.#report().flatMap(({ why }) => (why === null ? [] : [why])));
    const root = this.#local.types.type(this.#local.rootTypeId);
    return reasons.size === 0 ? `there is no ${root.name}` : [...reasons].join('; ');
  }

  /** The candidates looked at, and why each fitted or not. */
  candidates(): readonly CandidateReport[] {
    return this.#report();
  }
}
