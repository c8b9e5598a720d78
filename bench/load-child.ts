// One load in a process of its own, for bench/load.ts: node load-child.js OBJECT; prints the times as JSON.
import { readFileSync } from 'node:fs';
import { Kernel, loadCollection } from '../src/bpf/index.ts';
import { openObject } from '../src/bpf/object/index.ts';

const [file = ''] = process.argv.slice(2);
const cpuBefore = process.cpuUsage();
const start = performance.now();
const spec = openObject(readFileSync(file));
const opened = performance.now();
const collection = loadCollection(new Kernel(), spec, { pinRoot: null, sizeUnsized: true });
const end = performance.now();
const cpu = process.cpuUsage(cpuBefore);
const programs = collection.programs.size;
collection.close();
console.log(JSON.stringify({ programs, open: opened - start, load: end - start, cpu: (cpu.user + cpu.system) / 1000, sinceStart: end }));
