import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import path from 'node:path';
import {
  allBtfFeatures,
  type Btf,
  btfExtFromElf,
  btfFromElf,
  dedupBtf,
  dumpC,
  dumpJson,
  dumpRaw,
  minimizeBtf,
  sanitizeBtf,
} from '../../../src/btf/index.ts';
import { inspection } from '../../../src/cli/inspection.ts';
import { parseElf } from '../../../src/elf/index.ts';
import { RawbpfError } from '../../../src/error.ts';
import { checkKernels, linkObject, linkObjects, offlineKernel, openObject } from '../../../src/bpf/object/index.ts';
import { cpuMs, randomFrom } from '../../hostile.ts';
import { kernel } from './support.ts';

const folder = fileURLToPath(new URL('../../../../fixtures/', import.meta.url));

/** Every BPF object among the fixtures, by its path there. */
export const objects: readonly string[] = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  .filter((file) => /\.bpf(?:eb)?\.o$/.test(file))
  .toSorted();

function kernelBtf(): Btf {
  const btf = btfFromElf(parseElf(readFileSync(path.join(folder, 'core/target.o'))));
  if (btf === null) throw new Error('core/target.o has BTF');
  return btf;
}

const target = kernelBtf();
const offline = offlineKernel('target', target);
const world = kernel({ vmlinuxBtf: () => target });

/** What is done with an object: each step alone must give a result or one of our errors. */
const steps: Readonly<Record<string, (bytes: Uint8Array) => unknown>> = {
  open: (bytes) => openObject(bytes),
  strict: (bytes) => openObject(bytes, { strict: true }),
  link: (bytes) => {
    for (const result of linkObject(openObject(bytes), world)) if (!result.ok && !(result.error instanceof RawbpfError)) throw result.error;
  },
  inspect: (bytes) => inspection('fuzz', parseElf(bytes), openObject(bytes), true),
  kernels: (bytes) => checkKernels([openObject(bytes)], [offline]),
  'static link': (bytes) => openObject(linkObjects([{ name: 'a', bytes }])),
  'two alike': (bytes) =>
    linkObjects([
      { name: 'a', bytes },
      { name: 'b', bytes },
    ]),
  'dump C': (bytes) => withBtf(bytes, ({ btf }) => [...dumpC(btf)]),
  'dump raw': (bytes) => withBtf(bytes, ({ btf }) => [...dumpRaw(btf), ...dumpJson(btf)]),
  dedup: (bytes) => withBtf(bytes, ({ btf }) => dedupBtf(btf)),
  sanitize: (bytes) => withBtf(bytes, ({ btf }) => sanitizeBtf(btf, { ...allBtfFeatures, enum64: false, datasec: false, func: false })),
  minimize: (bytes) => withBtf(bytes, (parts) => [minimizeBtf(target, [parts]), minimizeBtf(parts.btf, [parts])]),
};

function withBtf(bytes: Uint8Array, use: (parts: Parameters<typeof minimizeBtf>[1][number]) => unknown): void {
  const elf = parseElf(bytes);
  const btf = btfFromElf(elf);
  const ext = btf === null ? null : btfExtFromElf(elf, btf);
  if (btf !== null && ext !== null) use({ btf, ext });
}

interface Zone {
  readonly at: number;
  readonly size: number;
}

/** Sections, section headers and the file header: damage goes to each of them alike, however large it is. */
function zonesOf(bytes: Uint8Array): Zone[] {
  const elf = parseElf(bytes);
  const headers = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(40, elf.header.littleEndian));
  const SHT_NOBITS = 8;
  const sections = elf.sections.filter(({ type }) => type !== SHT_NOBITS).map(({ offset, size }) => ({ at: offset, size }));
  return [...sections, { at: headers, size: bytes.length - headers }, { at: 0, size: 64 }].filter(({ size }) => size >= 4);
}

const words = [0, 1, 2, 3, 4, 8, 16, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffff0, 0x00ffffff, 0x10000, 0x40000000];

function damage(original: Uint8Array, zones: readonly Zone[], seed: number): Uint8Array {
  const random = randomFrom(seed);
  const bytes = Uint8Array.from(original);
  const view = new DataView(bytes.buffer);
  for (let times = random(5) + 1; times > 0; times--) {
    const { at, size } = zones[random(zones.length)] as Zone;
    const byte = at + random(size);
    const word = at + random(size >> 2) * 4;
    switch (random(6)) {
      case 0:
        bytes[byte] = random(256);
        break;
      case 1:
        bytes[byte] = (bytes[byte] as number) ^ (1 << random(8));
        break;
      case 2:
        bytes.copyWithin(byte, at + random(size), at + size);
        break;
      case 3:
        view.setUint16(word, random(2) === 0 ? random(30) : random(65536), random(8) !== 0);
        break;
      default:
        view.setUint32(word, random(3) === 0 ? random(200) : (words[random(words.length)] as number), random(8) !== 0);
    }
  }
  return bytes;
}

/** What came of a series of damaged objects. */
export interface FuzzResult {
  readonly runs: number;
  readonly refused: number;
  /** What was no RawbpfError with a stable code, took more than 2 s of processor time, or more than 200 MB. */
  readonly bad: readonly string[];
}

/** Damages one object `count` times and does everything with each copy. */
export function fuzz(file: string, count: number, seed: number): FuzzResult {
  const original = new Uint8Array(readFileSync(path.join(folder, file)));
  const zones = zonesOf(original);
  const bad: string[] = [];
  let refused = 0;
  let runs = 0;
  let peak = process.resourceUsage().maxRSS;
  for (let i = 0; i < count; i++) {
    const bytes = damage(original, zones, seed * 1_000_003 + i);
    for (const [name, step] of Object.entries(steps)) {
      const label = `${file}, seed ${seed}, copy ${i}, ${name}`;
      const start = cpuMs();
      runs++;
      try {
        step(bytes);
      } catch (error) {
        refused++;
        if (!(error instanceof RawbpfError && error.code.startsWith('E_'))) bad.push(`${label}: ${String(error)}`);
      }
      if (cpuMs() - start > 2000) bad.push(`${label}: ${Math.round(cpuMs() - start)} ms`);
      const now = process.resourceUsage().maxRSS;
      if (now > peak + 200 * 1024) bad.push(`${label}: ${Math.round((now - peak) / 1024)} MB`);
      peak = Math.max(peak, now);
    }
  }
  return { runs, refused, bad };
}
