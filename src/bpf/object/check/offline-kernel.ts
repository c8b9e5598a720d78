import type { Btf } from '../../../btf/btf.ts';
import type { BtfEnum } from '../../../btf/types.ts';
import type { LinkFeature, TargetKernel } from '../target.ts';

/** What is known of a kernel that is not running here, beside its BTF. */
export interface OfflineKernelOptions {
  /** LINUX_VERSION_CODE form; taken from the name (`6.1.0-13-amd64`) unless given. */
  readonly version?: number;
  readonly arch?: 'x86' | 'arm64';
  /** BTF of its modules, split over `btf`. */
  readonly modules?: readonly { readonly name: string; readonly btf: Btf }[];
  /** Layouts that the caller will load the objects with, looked at before the kernel's. */
  readonly extraBtfs?: readonly Btf[];
  /** The text of its build configuration (/boot/config-*). */
  readonly config?: string;
}

/** A kernel known by its BTF: what {@link checkKernels} links objects for. */
export interface OfflineKernel {
  readonly name: string;
  readonly btf: Btf;
  readonly target: TargetKernel;
  /** Whether LINUX_KERNEL_VERSION is known. */
  readonly hasVersion: boolean;
  /** Whether the build configuration is known. */
  readonly hasConfig: boolean;
  /** Whether the kernel has an enumerator of this enum and value; null where its BTF has not got the enum. */
  hasValue(enumName: string, value: number): boolean | null;
  hasFunction(name: string): boolean;
  hasTypedef(name: string): boolean;
}

/**
 * A kernel as far as a BTF file tells of it, for checking objects without it.
 *
 * @example
 * import { Btf } from 'rawbpf/btf';
 * import { offlineKernel } from 'rawbpf/object';
 * function describe(file: Uint8Array): string {
 *   const kernel = offlineKernel('5.10.0-30-amd64', Btf.parse(file));
 *   return kernel.target.ringbuf ? 'has ring buffers' : 'has none';
 * }
 */
export function offlineKernel(name: string, btf: Btf, options: OfflineKernelOptions = {}): OfflineKernel {
  const enums = new Map<string, ReadonlyMap<bigint, string> | null>();
  const valuesOf = (enumName: string): ReadonlyMap<bigint, string> | null => {
    let values = enums.get(enumName);
    if (values === undefined) enums.set(enumName, (values = readEnum(btf, enumName)));
    return values;
  };
  const names = (enumName: string): ReadonlySet<string> => new Set(valuesOf(enumName)?.values());
  const hasFunction = (symbol: string): boolean =>
    btf.findByName(symbol, 'FUNC') !== null || (options.modules ?? []).some((module) => module.btf.findByName(symbol, 'FUNC') !== null);
  const version = options.version ?? versionInName(name);
  const config = options.config === undefined ? null : parseConfig(options.config);
  const features: Readonly<Record<LinkFeature, () => boolean>> = {
    bpf_cookie: () => names('bpf_func_id').has('BPF_FUNC_get_attach_cookie'),
    syscall_wrapper: () => hasFunction('__x64_sys_bpf') || hasFunction('__arm64_sys_bpf'),
    probe_read_kernel: () => names('bpf_func_id').has('BPF_FUNC_probe_read_kernel'),
    uprobe_multi: () => names('bpf_attach_type').has('BPF_TRACE_UPROBE_MULTI'),
    // These two change numbers within instructions, and nothing of what is checked.
    ldimm64_full_range_off: () => true,
    arg_ctx_tag: () => true,
  };
  const target: TargetKernel = {
    version: version ?? 0,
    arch: options.arch ?? (hasFunction('__arm64_sys_bpf') ? 'arm64' : 'x86'),
    vmlinuxBtf: () => btf,
    moduleBtfs: () => (options.modules ?? []).map((module) => ({ ...module, fd: -1 })),
    extraBtfs: options.extraBtfs ?? [],
    // BTF has no addresses, and of variables only the per-CPU ones: any symbol is taken to be there.
    kernelSymbol: () => 1n,
    kconfig: (option) => config?.get(option) ?? null,
    has: (feature) => features[feature](),
    ringbuf: names('bpf_func_id').has('BPF_FUNC_ringbuf_output'),
  };
  return {
    name,
    btf,
    target,
    hasVersion: version !== null,
    hasConfig: config !== null,
    hasValue: (enumName, value) => valuesOf(enumName)?.has(BigInt(value)) ?? null,
    hasFunction,
    hasTypedef: (typedef) => btf.findByName(typedef, 'TYPEDEF') !== null,
  };
}

/** Names by value, without the `__MAX_...` that close such enums. */
function readEnum(btf: Btf, name: string): ReadonlyMap<bigint, string> | null {
  const id = btf.findByName(name, 'ENUM') ?? btf.findByName(name, 'ENUM64');
  if (id === null) return null;
  const { values } = btf.type(id) as BtfEnum;
  return new Map(values.filter((value) => !value.name.startsWith('__')).map((value) => [value.value, value.name]));
}

function versionInName(name: string): number | null {
  const [, major, minor, patch = '0'] = /(?:^|[^\d.])(\d+)\.(\d+)(?:\.(\d+))?/.exec(name) ?? [];
  if (major === undefined || minor === undefined) return null;
  return (Number(major) << 16) + (Number(minor) << 8) + Math.min(Number(patch), 255);
}

function parseConfig(text: string): ReadonlyMap<string, string> {
  return new Map(Array.from(text.matchAll(/^(CONFIG_\w+)=(.*)$/gm), ([, option = '', value = '']) => [option, value]));
}
