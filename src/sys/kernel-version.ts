import { readFileSync } from 'node:fs';
import { release, version } from 'node:os';

/** A kernel version as LINUX_VERSION_CODE has it: (major << 16) + (minor << 8) + min(patch, 255). */
export function versionCode(major: number, minor: number, patch = 0): number {
  return (major << 16) + (minor << 8) + Math.min(patch, 255);
}

/** The text that tells a kernel's true version, as far as the system has it. */
export interface VersionTexts {
  /** uname -r: `6.1.0-18-amd64`. */
  readonly release: string;
  /** uname -v, where Debian writes the upstream version: `#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)`. */
  readonly version: string;
  /** /proc/version_signature, where Ubuntu does: `Ubuntu 5.4.0-12.15-generic 5.4.8`; null on other systems. */
  readonly signature: string | null;
}

/**
 * Works out the version that programs of type kprobe must name on old kernels: Debian's and Ubuntu's `uname -r` has a
 * made-up patch level, the true one stands elsewhere. 0 where no version can be read.
 */
export function parseKernelVersion(texts: VersionTexts): number {
  const ubuntu = texts.signature === null ? null : /^\S+\s+\S+\s+(\d+)\.(\d+)\.(\d+)/.exec(texts.signature);
  const debian = /Debian (\d+)\.(\d+)\.(\d+)/.exec(texts.version);
  const plain = /^(\d+)\.(\d+)(?:\.(\d+))?/.exec(texts.release);
  const match = ubuntu ?? debian ?? plain;
  return match === null ? 0 : versionCode(Number(match[1]), Number(match[2]), Number(match[3] ?? 0));
}

let cached: number | null = null;

/** The version of the running kernel, in LINUX_VERSION_CODE form. */
export function kernelVersion(): number {
  cached ??= parseKernelVersion({
    release: release(),
    // Not /proc/version: it names the compiler too, and Debian's compiler has a version of Debian's.
    version: version(),
    signature: readText('/proc/version_signature'),
  });
  return cached;
}

/** A small text file of the kernel's, or null where it cannot be read. */
export function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8').trimEnd();
  } catch {
    return null;
  }
}
