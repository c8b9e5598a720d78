import { readFileSync } from 'node:fs';
import { effectiveCaps, CAP, hasCap, type CapName } from '../../sys/caps.ts';
import { findMount, type KernelFs } from '../../sys/detached-mount.ts';
import { explainPermission, permissionFacts } from '../../sys/permission.ts';
import { UnsupportedError } from '../../error.ts';
import { asm } from '../insn/asm.ts';
import { type KernelFeature, probes } from '../kernel/features.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { BPF_PROG_TYPE } from '../uapi/prog-type.gen.ts';
import { type AttachSupport, attachSupport } from './attach-kinds.ts';
import { helpersOf, type HelperName } from './helpers.ts';
import { hasMapType, mapTypes, type MapTypeName } from './map-types.ts';
import { attemptLoad, hasProgramType, programTypes } from './program-types.ts';

/** What a kernel can do with BPF, found out by trying. */
export interface FeatureReport {
  readonly kernel: {
    readonly release: string;
    readonly arch: string;
    readonly possibleCpus: number;
    /** Types in vmlinux's BTF, null where the kernel has none. */
    readonly btfTypes: number | null;
    /** Modules that have BTF. */
    readonly btfModules: readonly string[];
    /** Where the build configuration was read, null where nowhere. */
    readonly configSource: string | null;
  };
  readonly privileges: {
    readonly uid: number;
    /** Of those that BPF has to do with. */
    readonly capabilities: readonly CapName[];
    readonly unprivilegedBpfDisabled: number | null;
    readonly lockdown: string | null;
    readonly seccomp: number | null;
    /** Bytes, null where unlimited or unknown. */
    readonly memlock: number | null;
    /** Why BPF is refused to this process, as far as that can be told beforehand; null where nothing speaks against it. */
    readonly obstacle: string | null;
  };
  readonly sysctls: Readonly<Record<string, number | null>>;
  readonly programTypes: readonly { readonly name: string; readonly supported: boolean }[];
  readonly mapTypes: readonly { readonly name: MapTypeName; readonly supported: boolean }[];
  /** Of each program type that loads; null where they cannot be tried. Empty where it was not asked for. */
  readonly helpers: readonly { readonly programType: string; readonly helpers: readonly HelperName[] | null }[];
  readonly attach: readonly AttachSupport[];
  /** Abilities that loading depends on. */
  readonly features: Readonly<Record<KernelFeature, boolean>>;
  readonly instructions: Readonly<Record<'large_programs' | 'bounded_loops' | 'v2' | 'v3' | 'v4', boolean>>;
  readonly mounts: readonly { readonly type: KernelFs; readonly path: string | null }[];
}

export interface FeatureOptions {
  /** Tries every helper with every program type, some 6000 loads; true unless said. */
  readonly helpers?: boolean;
}

/**
 * Finds out what this kernel can do, by trying; nothing stays loaded or attached. Takes some tenths of a second.
 *
 * Throws UnsupportedError `E_BPF_REFUSED` where not even the smallest program can be loaded.
 *
 * @example
 * import { defaultKernel, kernelFeatures } from 'rawbpf';
 * export function missing(): string[] {
 *   return kernelFeatures(defaultKernel(), { helpers: false })
 *     .mapTypes.filter(({ supported }) => !supported)
 *     .map(({ name }) => name);
 * }
 */
export function kernelFeatures(kernel: Kernel, options: FeatureOptions = {}): FeatureReport {
  const facts = permissionFacts();
  const obstacle = explainPermission(kernel.sys);
  refuseWithoutBpf(kernel, obstacle);
  const caps = effectiveCaps() ?? 0n;
  const types = programTypes.map((name) => ({ name, supported: hasProgramType(kernel, name) }));
  return {
    kernel: {
      release: kernel.release,
      arch: kernel.sys.arch,
      possibleCpus: kernel.possibleCpus.length,
      btfTypes: kernel.vmlinuxBtf()?.typeCount ?? null,
      btfModules: kernel.moduleBtfs().map(({ name }) => name),
      configSource: configSource(kernel),
    },
    privileges: {
      uid: facts.uid,
      capabilities: (Object.keys(CAP) as CapName[]).filter((name) => hasCap(caps, name)),
      unprivilegedBpfDisabled: facts.unprivilegedBpfDisabled,
      lockdown: facts.lockdown,
      seccomp: facts.seccomp,
      memlock: facts.memlock === Infinity ? null : facts.memlock,
      obstacle: obstacle?.why ?? null,
    },
    sysctls: Object.fromEntries(sysctlNames.map((name) => [name, readSysctl(name)])),
    programTypes: types,
    mapTypes: mapTypes.map((name) => ({ name, supported: hasMapType(kernel, name) })),
    helpers:
      options.helpers === false
        ? []
        : types.map(({ name, supported }) => ({ programType: name, helpers: supported ? helpersOf(kernel, name) : [] })),
    attach: attachSupport(kernel),
    features: Object.fromEntries((Object.keys(probes) as KernelFeature[]).map((name) => [name, kernel.has(name)])) as Record<
      KernelFeature,
      boolean
    >,
    instructions: instructionSets(kernel),
    mounts: (['tracefs', 'debugfs', 'bpf', 'cgroup2', 'securityfs'] as const).map((type) => ({ type, path: findMount(type) })),
  };
}

const sysctlNames = [
  'net.core.bpf_jit_enable',
  'net.core.bpf_jit_harden',
  'net.core.bpf_jit_kallsyms',
  'net.core.bpf_jit_limit',
  'kernel.perf_event_paranoid',
  'kernel.kptr_restrict',
] as const;

function readSysctl(name: string): number | null {
  try {
    return Number(readFileSync(`/proc/sys/${name.replaceAll('.', '/')}`, 'utf8'));
  } catch {
    return null;
  }
}

function configSource(kernel: Kernel): string | null {
  try {
    return kernel.config().source;
  } catch {
    return null;
  }
}

const T = BPF_PROG_TYPE;

function refuseWithoutBpf(kernel: Kernel, obstacle: { readonly why: string; readonly next: string } | null): void {
  const smallest = [...asm.movImm(0, 0), ...asm.exit()];
  const attempts = [T.BPF_PROG_TYPE_SOCKET_FILTER, T.BPF_PROG_TYPE_TRACEPOINT].map((type) => attemptLoad(kernel, type, smallest).result);
  if (attempts.some((result) => result >= 0)) return;
  throw new UnsupportedError({
    code: 'E_BPF_REFUSED',
    what: 'this process can load no BPF program',
    why: obstacle?.why ?? `the kernel gave errno ${-(attempts[0] ?? 0)}`,
    next: obstacle?.next ?? 'see whether the kernel was built with CONFIG_BPF_SYSCALL',
  });
}

/** Which instructions and shapes of programs the verifier takes. */
function instructionSets(kernel: Kernel): FeatureReport['instructions'] {
  const loads = (insns: Parameters<typeof attemptLoad>[2]): boolean =>
    attemptLoad(kernel, T.BPF_PROG_TYPE_SOCKET_FILTER, insns).result >= 0;
  const exit = asm.exit();
  const zero = asm.movImm(0, 0);
  // BPF_JMP32: class 6.
  const jump32 = { code: 0x06 | 0x50, dst: 0, src: 0, off: 1, imm: 1 };
  // bswap: BPF_ALU64 | BPF_END.
  const swap = { code: 0xd7, dst: 0, src: 0, off: 0, imm: 16 };
  return {
    // BPF_MAXINSNS (4096) was the limit before 5.2.
    large_programs: loads([...Array.from({ length: 4096 }, () => zero).flat(), ...exit]),
    bounded_loops: loads([...asm.movImm(0, 10), ...asm.aluImm('SUB', 0, 1), ...asm.jumpImm('JNE', 0, 0, -2), ...exit]),
    v2: loads([...zero, ...asm.jumpImm('JLT', 0, 0, 1), ...asm.movImm(0, 1), ...exit]),
    v3: loads([...zero, jump32, ...asm.movImm(0, 1), ...exit]),
    v4: loads([...zero, swap, ...exit]),
  };
}
