// Loads an object four times in a process of its own, for bench/load.ts: node load-child.js OBJECT; prints the times as JSON. The first
// load runs code that is compiled as it is met, the others (of which the median) what is there, as in a process that lives on.
import { readFileSync } from 'node:fs';
import { Kernel, loadCollectionAsync } from '../src/bpf/index.ts';
import { openObject } from '../src/bpf/object/index.ts';

interface Load {
  readonly programs: number;
  readonly wall: number;
  readonly cpu: number;
}

const [file = ''] = process.argv.slice(2);

async function load(): Promise<Load> {
  const cpuBefore = process.cpuUsage();
  const start = performance.now();
  // A kernel of its own: its BTF is read, indexed and searched again.
  const kernel = new Kernel();
  const collection = await loadCollectionAsync(kernel, openObject(readFileSync(file)), { pinRoot: null, sizeUnsized: true });
  const wall = performance.now() - start;
  const cpu = process.cpuUsage(cpuBefore);
  const programs = collection.programs.size;
  collection.close();
  kernel.close();
  return { programs, wall, cpu: (cpu.user + cpu.system) / 1000 };
}

async function main(): Promise<void> {
  const first = await load();
  const sinceStart = performance.now();
  const later = [await load(), await load(), await load()];
  const median = (of: (one: Load) => number): number => later.map(of).toSorted((a, b) => a - b)[1] ?? Number.NaN;
  const again = { again: median(({ wall }) => wall), againCpu: median(({ cpu }) => cpu) };
  console.log(JSON.stringify({ programs: first.programs, load: first.wall, cpu: first.cpu, ...again, sinceStart }));
}

void main();
