import { existsSync } from 'node:fs';
import { release } from 'node:os';
import type { Btf } from '../../btf/btf.ts';
import { UnsupportedError } from '../../error.ts';
import { defaultSys } from '../../sys/default-sys.ts';
import { onlineCpus, possibleCpus } from '../../sys/cpus.ts';
import { openFs } from '../../sys/detached-mount.ts';
import { kernelVersion, versionCode } from '../../sys/kernel-version.ts';
import { pageSize } from '../../sys/page-size.ts';
import type { Sys } from '../../sys/sys.ts';
import type { ModuleBtf, TargetKernel } from '../object/target.ts';
import { type KernelFeature, probes } from './features.ts';
import { type Kallsyms, readKallsyms } from './kallsyms.ts';
import { type KernelConfig, readKernelConfig } from './kconfig.ts';
import { raiseMemlock } from './memlock.ts';
import { readModuleBtfs } from './module-btf.ts';
import type { Notice, NoticeListener } from './notice.ts';
import type { TraceEvent, TraceListener } from './trace.ts';
import { parseBtfFile, readVmlinuxBtf } from './vmlinux-btf.ts';

/** Which way events take from a tracer to us: `auto` is the ring buffer where the kernel has one. */
export type BufferChoice = 'auto' | 'ringbuf' | 'perf';

/** How to make a {@link Kernel}; every part has a default. */
export interface KernelOptions {
  /** What system calls go through; the process's own unless said. */
  readonly sys?: Sys;
  /** The BTF that CO-RE looks into instead of the running kernel's: parsed, or the bytes of a raw or ELF file. */
  readonly btf?: Btf | Uint8Array;
  /** More BTFs whose types CO-RE prefers to the kernel's. */
  readonly extraBtfs?: readonly Btf[];
  readonly buffer?: BufferChoice;
  /** Answers instead of probing: how an older kernel is simulated. */
  readonly features?: Readonly<Partial<Record<KernelFeature, boolean>>>;
  readonly onNotice?: NoticeListener;
  /** Is told every step of loading. */
  readonly trace?: TraceListener;
}

/**
 * The running kernel as rawbpf sees it: its types, symbols, configuration and abilities, each read or probed when it is
 * first asked for, and once.
 *
 * @example
 * import { Kernel } from 'rawbpf';
 * export function describe(): string {
 *   const kernel = new Kernel();
 *   return `${kernel.release}, ${kernel.possibleCpus.length} CPUs, ring buffers: ${kernel.ringbuf}`;
 * }
 */
export class Kernel {
  readonly sys: Sys;
  readonly release: string;
  /** LINUX_VERSION_CODE form: (major << 16) + (minor << 8) + min(patch, 255). */
  readonly version: number;
  readonly pageSize: number;
  readonly #options: KernelOptions;
  readonly #features = new Map<KernelFeature, boolean>();
  #vmlinux: Btf | null | undefined;
  #given: Btf | null | undefined;
  #modules: ModuleBtf[] | null = null;
  #kallsyms: Kallsyms | null = null;
  #config: KernelConfig | null = null;
  #target: TargetKernel | null = null;
  #memlockRaised = false;

  constructor(options: KernelOptions = {}) {
    this.#options = options;
    this.sys = options.sys ?? defaultSys();
    this.release = release();
    this.version = kernelVersion();
    this.pageSize = pageSize();
    for (const [feature, answer] of Object.entries(options.features ?? {})) this.#features.set(feature as KernelFeature, answer);
  }

  /** Numbers of the CPUs that may ever come online: per-CPU values have one element for each, in this order. */
  get possibleCpus(): readonly number[] {
    return possibleCpus();
  }

  /** Numbers of the CPUs that are online now; read anew each time. */
  get onlineCpus(): readonly number[] {
    return onlineCpus();
  }

  /** The running kernel's own BTF, null where it has none. */
  vmlinuxBtf(): Btf | null {
    if (this.#vmlinux === undefined) this.#vmlinux = readVmlinuxBtf(this.sys, this.release, (notice) => this.notice(notice));
    return this.#vmlinux;
  }

  /** The BTF that CO-RE looks into: the one given, or the kernel's own. */
  coreBtf(): Btf | null {
    return this.givenBtf() ?? this.vmlinuxBtf();
  }

  /** The BTF given in the options, null where none was. */
  givenBtf(): Btf | null {
    if (this.#given === undefined) {
      const given = this.#options.btf;
      this.#given = given instanceof Uint8Array ? parseBtfFile(given, 'given BTF') : (given ?? null);
      if (given instanceof Uint8Array && this.#given === null) {
        throw new UnsupportedError({
          code: 'E_BTF_MISSING',
          what: 'the given file has no BTF',
          next: 'give a raw BTF file, or an ELF file with a .BTF section',
        });
      }
    }
    return this.#given;
  }

  /** BTF of the loaded modules; broken ones are left out with a notice. Their descriptors stay open until {@link dropCaches}. */
  moduleBtfs(): readonly ModuleBtf[] {
    if (this.#modules === null) {
      const vmlinux = this.vmlinuxBtf();
      this.#modules = vmlinux === null || !this.has('module_btf') ? [] : readModuleBtfs(this.sys, vmlinux, (notice) => this.notice(notice));
    }
    return this.#modules;
  }

  /** The kernel's symbols, from /proc/kallsyms. */
  kallsyms(): Kallsyms {
    this.#kallsyms ??= readKallsyms();
    return this.#kallsyms;
  }

  /** The kernel's build configuration; throws E_KCONFIG_MISSING where it cannot be read. */
  config(): KernelConfig {
    this.#config ??= readKernelConfig(this.release);
    return this.#config;
  }

  /** Whether the kernel has a feature; found out by trying, once. */
  has(feature: KernelFeature): boolean {
    let answer = this.#features.get(feature);
    if (answer === undefined) {
      answer = this.#probe(feature);
      this.#features.set(feature, answer);
      this.trace({ step: 'probe', feature, supported: answer });
    }
    return answer;
  }

  /**
   * The ring buffer decision, for maps and for every CO-RE question alike: whether events go through ring buffers.
   */
  get ringbuf(): boolean {
    const choice = this.#options.buffer ?? 'auto';
    return choice === 'auto' ? this.has('ringbuf') : choice === 'ringbuf';
  }

  /** What the linker needs to know; with more BTFs for one load where they are given. */
  target(extraBtfs: readonly Btf[] = []): TargetKernel {
    if (extraBtfs.length > 0) return makeTarget(this, [...extraBtfs, ...(this.#options.extraBtfs ?? [])]);
    this.#target ??= makeTarget(this, this.#options.extraBtfs ?? []);
    return this.#target;
  }

  /** Gives back what is only needed while loading: parsed BTF, symbols, configuration, descriptors of modules' BTF. */
  dropCaches(): void {
    this.#vmlinux = undefined;
    this.#given = undefined;
    this.#kallsyms = null;
    this.#config = null;
    for (const module of this.#modules ?? []) this.sys.call('close', module.fd);
    this.#modules = null;
  }

  /** The same as {@link dropCaches}: a kernel holds nothing else. */
  close(): void {
    this.dropCaches();
  }

  [Symbol.dispose](): void {
    this.dropCaches();
  }

  /** Tells the listener something that did not stop the work. */
  notice(notice: Notice): void {
    this.#options.onNotice?.(notice);
    this.trace({ step: 'notice', notice });
  }

  /** Whether anybody listens to the steps of loading: some are costly to tell. */
  get traced(): boolean {
    return this.#options.trace !== undefined;
  }

  trace(event: TraceEvent): void {
    this.#options.trace?.(event);
  }

  /**
   * After EPERM: lifts the limit on locked memory where the kernel counts BPF memory against it (before 5.11), once.
   * Returns whether it is worth trying again.
   */
  retryAfterMemlock(): boolean {
    if (this.#memlockRaised || this.version >= versionCode(5, 12)) return false;
    this.#memlockRaised = true;
    return raiseMemlock(this.sys);
  }

  #probe(feature: KernelFeature): boolean {
    const context = {
      sys: this.sys,
      pageSize: this.pageSize,
      canTrace: (symbol: string) => hasKprobeEvents(this.sys) && this.kallsyms().find(symbol).next().done !== true,
    };
    try {
      return probes[feature](context);
    } catch (cause) {
      this.notice({ code: 'N_PROBE', message: `whether the kernel has ${feature} could not be found out; taken for missing`, cause });
      return false;
    }
  }
}

function hasKprobeEvents(sys: Sys): boolean {
  const tracefs = openFs(sys, 'tracefs');
  try {
    return existsSync(`${tracefs.path}/kprobe_events`);
  } finally {
    tracefs.close();
  }
}

function makeTarget(kernel: Kernel, extraBtfs: readonly Btf[]): TargetKernel {
  return {
    version: kernel.version,
    arch: kernel.sys.arch === 'x64' ? 'x86' : 'arm64',
    vmlinuxBtf: () => kernel.vmlinuxBtf(),
    coreBtf: () => kernel.givenBtf(),
    moduleBtfs: () => kernel.moduleBtfs(),
    extraBtfs,
    kernelSymbol: (name) => kernel.kallsyms().address(name),
    kconfig: (name) => kernel.config().get(name),
    similarNames: (kind, name) => (kind === 'kconfig' ? kernel.config().names() : kernel.kallsyms().namesLike(name)),
    has: (feature) => kernel.has(feature),
    get ringbuf() {
      return kernel.ringbuf;
    },
  };
}

let shared: Kernel | null = null;

/** The `Kernel` of this process, with the default options; made at the first call. */
export function defaultKernel(): Kernel {
  shared ??= new Kernel();
  return shared;
}
