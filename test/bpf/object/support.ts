import { readFileSync } from 'node:fs';
import { openObject, type ObjectSpec, type OpenOptions, type TargetKernel } from '../../../src/bpf/object/index.ts';
import { Btf, BtfBuilder, type BtfNewType } from '../../../src/btf/index.ts';

const folder = new URL('../../../../fixtures/object/', import.meta.url);

export function fixtureBytes(name: string): Uint8Array {
  return readFileSync(new URL(name, folder));
}

export function open(name: string, options: OpenOptions = {}): ObjectSpec {
  return openObject(fixtureBytes(`${name}.bpf.o`), { name, ...options });
}

/** What libbpf made of an object: fixtures/object/expected.json, see scripts/object-golden.mjs. */
export interface Expected {
  readonly loaded: boolean;
  readonly programs: readonly {
    readonly name: string;
    readonly section: string;
    readonly autoload: boolean;
    readonly type: number;
    readonly attachType: number;
    readonly insns: string | null;
    readonly flags?: number;
    readonly funcInfo?: string;
    readonly lineInfo?: string;
  }[];
  readonly maps: readonly {
    readonly name: string;
    readonly type: number;
    readonly keySize: number;
    readonly valueSize: number;
    readonly maxEntries: number;
    readonly flags: number;
    readonly numaNode: number;
    readonly mapExtra: string;
    readonly internal: boolean;
  }[];
}

export function expected(): Readonly<Record<string, Expected>> {
  return JSON.parse(readFileSync(new URL('expected.json', folder), 'utf8')) as Record<string, Expected>;
}

/** A kernel that knows nothing, with what a test adds to it. */
export function kernel(more: Partial<TargetKernel> = {}): TargetKernel {
  return {
    version: (6 << 16) + (12 << 8) + 3,
    arch: 'x86',
    vmlinuxBtf: () => null,
    moduleBtfs: () => [],
    extraBtfs: [],
    kernelSymbol: () => null,
    kconfig: () => null,
    has: (feature) => feature !== 'ldimm64_full_range_off',
    ringbuf: true,
    ...more,
  };
}

/** A BTF of the given types, ids from 1. */
export function btfOf(types: readonly BtfNewType[], base?: Btf): Btf {
  const builder = base === undefined ? new BtfBuilder() : new BtfBuilder({ base });
  for (const type of types) builder.add(type);
  return Btf.parse(builder.encode(), base === undefined ? {} : { base });
}
