import type { Btf } from '../../../btf/btf.ts';
import { BTF_KIND, type BtfKindName } from '../../../btf/types.ts';
import { didYouMean } from '../../../bytes/suggest.ts';

const names = new WeakMap<Btf, Map<BtfKindName, readonly string[]>>();

/**
 * `did you mean ...?` for a name that a kernel's BTF has not got; '' where nothing is near. Only names with the same first letter are
 * compared: a kernel has sixty thousand functions.
 */
export function suggestType(btf: Btf | null, kind: BtfKindName, prefix: string, name: string): string {
  if (btf === null || name === '') return '';
  const start = prefix + name.charAt(0);
  const near = namesOf(btf, kind).filter((candidate) => candidate.startsWith(start));
  return didYouMean(
    name,
    near.map((candidate) => candidate.slice(prefix.length)),
  );
}

function namesOf(btf: Btf, kind: BtfKindName): readonly string[] {
  const byKind = names.get(btf) ?? new Map<BtfKindName, readonly string[]>();
  names.set(btf, byKind);
  let list = byKind.get(kind);
  if (list === undefined) {
    const found = new Set<string>();
    for (let id = btf.firstId; id < btf.typeCount; id++) if (btf.kindOf(id) === BTF_KIND[kind]) found.add(btf.nameOf(id));
    list = [...found];
    byKind.set(kind, list);
  }
  return list;
}
