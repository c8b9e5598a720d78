import type { Btf } from '../btf.ts';
import type { CoreRelo } from '../ext.ts';
import { CandidateList, type CoreTargets, findCandidates, ringbufAnswer } from './candidates.ts';
import { CoreError } from './error.ts';
import { essentialName } from './essential-name.ts';
import { CORE_KIND, coreKindName, coreSubject } from './kinds.ts';
import { matchSpec } from './match.ts';
import { type CandidateReport, CoreResolution } from './resolution.ts';
import { type CoreSpec, formatSpec, parseSpec, specPath } from './spec.ts';
import { Budget, Types } from './types.ts';
import { type CoreValue, relocationValue } from './value.ts';

interface Memo {
  readonly resolution: CoreResolution;
  readonly list: CandidateList | null;
  readonly version: number;
}

/**
 * Resolves the CO-RE relocations of one object for one kernel, as libbpf does: give it the relocations of the programs
 * that will load, in the order of .BTF.ext, for each one narrows the candidates of its root type for those that follow.
 *
 * @example
 * import { Btf, CORE_KIND, CoreResolver } from 'rawbpf/btf';
 * declare const local: Btf, kernel: Btf; // the object's .BTF and /sys/kernel/btf/vmlinux
 * const resolver = new CoreResolver(local, { vmlinux: () => kernel, modules: () => [], extra: [], ringbuf: true });
 * const id = local.findByName('task_struct', 'STRUCT') ?? 0;
 * const found = resolver.resolve({ insnOffset: 0, typeId: id, access: '0:1', kind: CORE_KIND.FIELD_BYTE_OFFSET });
 * console.log(found.value, found.local, found.target);
 */
export class CoreResolver {
  readonly #local: Types;
  readonly #targets: CoreTargets;
  readonly #lists = new Map<number, CandidateList>();
  readonly #memos = new Map<string, Memo>();
  readonly #budget = new Budget();
  readonly #roots: Iterable<number>;
  #names: readonly string[] | null = null;

  /** `roots` are the root types of the relocations to come, as far as they are known: all are looked for in one pass. */
  constructor(local: Btf, targets: CoreTargets, roots: Iterable<number> = []) {
    this.#local = Types.of(local);
    this.#targets = targets;
    this.#roots = roots;
  }

  /** Throws {@link CoreError} where loading has to fail; a mere absence is a resolution that says `poison` or value 0. */
  resolve(relo: CoreRelo): CoreResolution {
    const key = `${relo.typeId} ${relo.kind} ${relo.access}`;
    const memo = this.#memos.get(key);
    // Pruned since, the list may begin with another candidate, whose field may have another width.
    if (memo !== undefined && (memo.list === null || memo.list.version === memo.version)) return memo.resolution;
    const { resolution, list } = this.#resolve(relo);
    this.#memos.set(key, { resolution, list, version: list?.version ?? 0 });
    return resolution;
  }

  #resolve(relo: CoreRelo): { readonly resolution: CoreResolution; readonly list: CandidateList | null } {
    const local = parseSpec(this.#local, relo);
    if (relo.kind === CORE_KIND.TYPE_ID_LOCAL) {
      return { resolution: new CoreResolution(local, null, relocationValue(local, local), true, () => []), list: null };
    }
    const decided = this.#ringbufDecision(local);
    if (decided === false) {
      const why = 'ring buffers are taken for missing';
      return { resolution: new CoreResolution(local, null, relocationValue(local, null), false, () => [], why), list: null };
    }

    const list = this.#candidates(local);
    const before = list.items;
    const budget = this.#budget.begin();
    const left = [];
    let chosen: { readonly value: CoreValue; readonly target: CoreSpec } | null = null;
    for (const candidate of before) {
      const target = matchSpec(local, candidate.types, candidate.typeId, budget);
      if (target === null) continue;
      const value = relocationValue(local, target);
      if (chosen === null) chosen = { value, target };
      else rejectAmbiguity(local, chosen.target, chosen.value, target, value);
      left.push(candidate);
    }
    list.prune(left);
    const exists = chosen !== null || decided === true;
    // Decided without a match: these numbers are the kernel's interface and never change, so the object's own stand in.
    const value = chosen?.value ?? relocationValue(local, exists ? local : null);
    const resolution = new CoreResolution(local, chosen?.target ?? null, value, exists, () => report(local, before));
    return { resolution, list };
  }

  #candidates(local: CoreSpec): CandidateList {
    const root = this.#local.type(local.rootTypeId);
    if (root.name === '') {
      throw new CoreError({
        code: 'E_CORE_ANONYMOUS',
        what: `CO-RE relocation <${coreKindName(local.kind)}> of an anonymous type`,
        where: { type: local.rootTypeId },
        why: 'candidates are found by name',
        next: 'give the type a name',
      });
    }
    let list = this.#lists.get(local.rootTypeId);
    if (list === undefined) {
      const found = findCandidates(this.#local, local.rootTypeId, this.#targets, () => this.#rootNames());
      if (found === null) {
        throw new CoreError({
          code: 'E_CORE_NO_BTF',
          what: `no kernel BTF to relocate ${specPath(local)} against`,
          why: 'the kernel was built without CONFIG_DEBUG_INFO_BTF, or its BTF cannot be read',
          next: 'give a BTF file made for this kernel',
        });
      }
      list = found;
      this.#lists.set(local.rootTypeId, list);
    }
    return list;
  }

  #rootNames(): readonly string[] {
    if (this.#names !== null) return this.#names;
    const { btf } = this.#local;
    const names = new Set<string>();
    // A relocation whose root is no type fails in its turn.
    for (const id of this.#roots) if (id < btf.typeCount) names.add(essentialName(btf.nameOf(id)));
    names.delete('');
    return (this.#names = [...names]);
  }

  /** What the ring buffer decision says of an enumerator: false or true whatever BTF says, null where BTF is to be asked. */
  #ringbufDecision(local: CoreSpec): boolean | null {
    if (coreSubject(local.kind) !== 'enumval') return null;
    const root = this.#local.skip(local.rootTypeId).type;
    return ringbufAnswer(root.name, local.accessors[0]?.name ?? '', this.#targets.ringbuf);
  }
}

function rejectAmbiguity(local: CoreSpec, first: CoreSpec, firstValue: CoreValue, other: CoreSpec, otherValue: CoreValue): void {
  const sameOffset = first.bitOffset === other.bitOffset;
  if (sameOffset && firstValue.poison === otherValue.poison && firstValue.value === otherValue.value) return;
  throw new CoreError({
    code: 'E_CORE_AMBIGUOUS',
    what: `ambiguous CO-RE relocation of ${specPath(local)}: target types of this name disagree`,
    where: { relocation: formatSpec(local) },
    why: `${said(first, firstValue)}, ${said(other, otherValue)}`,
    next: 'tell them apart by a field that only one of them has, or use a flavour of the type (name___flavour)',
  });
}

function said(spec: CoreSpec, value: CoreValue): string {
  return value.poison ? formatSpec(spec) : `${formatSpec(spec)} gives ${value.value}`;
}

/** Matches again, listening: only asked for by people. */
function report(local: CoreSpec, candidates: CandidateList['items']): CandidateReport[] {
  return candidates.map(({ types, typeId, source }) => {
    let why: string | null = null;
    let text: string | null = null;
    try {
      const spec = matchSpec(local, types, typeId, new Budget(), (reason) => {
        why = reason;
      });
      if (spec !== null) text = formatSpec(spec);
    } catch (error) {
      if (!(error instanceof CoreError)) throw error;
      why = error.message;
    }
    return { source, typeId, name: types.type(typeId).name, spec: text, why };
  });
}
