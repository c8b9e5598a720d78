import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { gunzipSync } from 'node:zlib';
import type { LinkFeature, TargetKernel } from '../../src/bpf/object/target.ts';
import { Btf } from '../../src/btf/btf.ts';

/** The running kernel, read as plainly as can be, with the features given; CO-RE looks into `given` where there is one. */
export function runningKernel(given: Btf | null, has: (feature: LinkFeature) => boolean): TargetKernel {
  const [major = 0, minor = 0, patch = 0] = release().split(/[.-]/).map(Number);
  let vmlinux: Btf | null = null;
  let symbols: Map<string, bigint> | null = null;
  return {
    version: (major << 16) + (minor << 8) + Math.min(patch, 255),
    arch: process.arch === 'arm64' ? 'arm64' : 'x86',
    vmlinuxBtf: () => (vmlinux ??= Btf.parse(readFileSync('/sys/kernel/btf/vmlinux'))),
    coreBtf: () => given,
    moduleBtfs: () => [],
    extraBtfs: [],
    kernelSymbol: (name) => (symbols ??= readSymbols()).get(name) ?? null,
    kconfig: (name) => new RegExp(`^${name}=(.*)$`, 'm').exec(gunzipSync(readFileSync('/proc/config.gz')).toString())?.[1] ?? null,
    has,
    ringbuf: true,
  };
}

function readSymbols(): Map<string, bigint> {
  const symbols = new Map<string, bigint>();
  for (const line of readFileSync('/proc/kallsyms', 'utf8').split('\n')) {
    const [address = '', , name = ''] = line.split(/\s+/);
    if (name !== '' && !symbols.has(name)) symbols.set(name, BigInt(`0x${address}`));
  }
  return symbols;
}
