import type { Btf } from '../../../btf/btf.ts';
import { typesAreCompatible } from '../../../btf/core/compat.ts';
import { essentialName } from '../../../btf/core/essential-name.ts';
import { Budget, Types } from '../../../btf/core/types.ts';
import { referencedId, skipModifiersAndTypedefs } from '../../../btf/resolve.ts';
import type { BtfKindName } from '../../../btf/types.ts';
import { didYouMean } from '../../../bytes/suggest.ts';
import { RawbpfError } from '../../../error.ts';
import type { ExternSpec, ObjectSpec } from '../spec.ts';
import type { TargetKernel } from '../target.ts';
import { LinkError } from './error.ts';
import { kconfigValue } from './kconfig.ts';
import { suggestType } from './suggest.ts';

/** What an extern is on one kernel. */
export type ResolvedExtern =
  /** Its place in the .kconfig map. */
  | { readonly kind: 'kconfig'; readonly offset: number }
  | { readonly kind: 'address'; readonly address: bigint }
  /** A BTF id of vmlinux ('') or a module; `fdArrayIndex` is the module's place in fd_array, 0 for vmlinux and variables. */
  | { readonly kind: 'btf'; readonly btfId: number; readonly module: string; readonly fdArrayIndex: number }
  /** Weak and not there: a variable's address is 0, a call is made invalid. */
  | { readonly kind: 'absent' }
  | { readonly kind: 'failed'; readonly error: RawbpfError };

/** The externs of an object on one kernel. */
export interface ResolvedExterns {
  readonly byName: ReadonlyMap<string, ResolvedExtern>;
  /** Place in the order of externs, which poisoned calls name. */
  readonly indexOf: ReadonlyMap<string, number>;
  /** Contents of the .kconfig map, null where the object has none. */
  readonly kconfig: Uint8Array | null;
  /** Modules in the order of fd_array; the first has index 1. */
  readonly modules: readonly string[];
  /** The first that failed, which is what libbpf fails the whole object for. */
  readonly error: RawbpfError | null;
}

/** Looks every extern up once; a failure is kept with its extern, for the programs that use it. */
export function resolveExterns(spec: ObjectSpec, target: TargetKernel): ResolvedExterns {
  const byName = new Map<string, ResolvedExtern>();
  const modules: string[] = [];
  const last = spec.externs.findLast(({ kind }) => kind === 'kconfig');
  const kconfig = last === undefined ? null : new Uint8Array(last.offset + last.size);
  let first: RawbpfError | null = null;
  for (const extern of spec.externs) {
    let resolved: ResolvedExtern;
    try {
      resolved = resolve(spec, extern, target, kconfig, modules);
    } catch (error) {
      if (!(error instanceof RawbpfError)) throw error;
      resolved = { kind: 'failed', error };
      first ??= error;
    }
    byName.set(extern.name, resolved);
  }
  const indexOf = new Map(spec.externs.map(({ name }, i) => [name, i]));
  return { byName, indexOf, kconfig, modules, error: first };
}

function resolve(
  spec: ObjectSpec,
  extern: ExternSpec,
  target: TargetKernel,
  kconfig: Uint8Array | null,
  modules: string[],
): ResolvedExtern {
  switch (extern.kind) {
    case 'kconfig': {
      const value = kconfigValue(extern, target, spec.littleEndian);
      if (value === null && !extern.weak)
        throw missing(extern, 'the option is not set in the kernel configuration', similar(extern, target));
      if (value !== null) kconfig?.set(value, extern.offset);
      return { kind: 'kconfig', offset: extern.offset };
    }
    case 'ksym': {
      const address = target.kernelSymbol(extern.name);
      if (address !== null) return { kind: 'address', address };
      if (extern.weak) return { kind: 'absent' };
      throw missing(extern, 'the kernel has no such symbol', similar(extern, target));
    }
    default:
      return typed(spec, extern, target, extern.kind === 'kfunc' ? 'FUNC' : 'VAR', modules);
  }
}

/** A kernel variable or function by its BTF, whose type has to agree with the one declared. */
function typed(spec: ObjectSpec, extern: ExternSpec, target: TargetKernel, kind: 'VAR' | 'FUNC', modules: string[]): ResolvedExtern {
  const name = kind === 'FUNC' ? essentialName(extern.name) : extern.name;
  const found = findKernelType(target, name, kind);
  if (found === null) {
    if (extern.weak) return { kind: 'absent' };
    const why =
      kind === 'FUNC' ? 'neither the kernel nor a module has such a function in its BTF' : "the kernel's BTF has no such variable";
    throw missing(extern, why, suggestType(target.vmlinuxBtf(), kind, '', name));
  }
  const { btf } = spec;
  const referred = referencedId(found.btf, found.id);
  const targetId = kind === 'VAR' ? skipModifiersAndTypedefs(found.btf, referred) : referred;
  if (btf === null || !typesAreCompatible(Types.of(btf), extern.typeId, Types.of(found.btf), targetId, new Budget())) {
    if (kind === 'FUNC' && extern.weak) return { kind: 'absent' };
    throw new LinkError({
      code: 'E_KSYM_TYPE',
      what: kind === 'FUNC' ? 'a kernel function has another prototype' : 'a kernel variable has another type',
      where: { extern: extern.name, btf: found.module === '' ? 'vmlinux' : found.module },
      why: `the object's type ${extern.typeId} does not agree with the kernel's type ${targetId}`,
      next: 'declare it as the vmlinux.h of this kernel does',
    });
  }
  return {
    kind: 'btf',
    btfId: found.id,
    module: found.module,
    fdArrayIndex: kind === 'FUNC' && found.module !== '' ? moduleIndex(modules, found.module) : 0,
  };
}

/** A module's place in fd_array; place 0 is vmlinux's. */
function moduleIndex(modules: string[], name: string): number {
  const known = modules.indexOf(name);
  return known >= 0 ? known + 1 : modules.push(name);
}

/** A type of the kernel: vmlinux's, else the first module's that has it. */
export interface KernelType {
  readonly btf: Btf;
  readonly id: number;
  /** '' for vmlinux. */
  readonly module: string;
}

export function findKernelType(target: TargetKernel, name: string, kind: BtfKindName): KernelType | null {
  const vmlinux = target.vmlinuxBtf();
  const id = vmlinux?.findByName(name, kind) ?? null;
  if (vmlinux !== null && id !== null) return { btf: vmlinux, id, module: '' };
  for (const { name: module, btf } of target.moduleBtfs()) {
    const own = btf.findByName(name, kind);
    // A module's BTF finds the base's types too.
    if (own !== null && own >= btf.firstId) return { btf, id: own, module };
  }
  return null;
}

/** `did you mean ...?`; '' where nothing is near, or where the option is known and not set. */
function similar({ name, kind }: ExternSpec, target: TargetKernel): string {
  const names = [...(target.similarNames?.(kind === 'kconfig' ? 'kconfig' : 'ksym', name) ?? [])];
  return names.includes(name) ? '' : didYouMean(name, new Set(names));
}

function missing(extern: ExternSpec, why: string, hint = ''): LinkError {
  return new LinkError({
    code: 'E_EXTERN_MISSING',
    what: 'an extern is not on this kernel',
    where: { extern: extern.name },
    why,
    next: `${hint}${hint === '' ? '' : ' '}declare it __weak and test for it, to do without`,
  });
}
