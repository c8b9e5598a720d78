// One cold look into the kernel's BTF in a process of its own, for bench/load.ts: node btf-child.js; prints the times as JSON.
import { readFileSync } from 'node:fs';
import { Btf } from '../src/btf/index.ts';

const bytes = readFileSync('/sys/kernel/btf/vmlinux');
globalThis.gc?.();
const before = process.memoryUsage();
const start = performance.now();
const btf = Btf.parse(bytes);
const indexed = performance.now();
const afterIndex = process.memoryUsage();
const id = btf.findByName('task_struct', 'STRUCT');
const found = performance.now();
const after = process.memoryUsage();
if (id === null) throw new Error('no struct task_struct');
const megabytes = (one: NodeJS.MemoryUsage): number => (one.heapUsed + one.arrayBuffers - before.heapUsed - before.arrayBuffers) / 1e6;
const sizes = { blob: bytes.length / 1e6, indexMemory: megabytes(afterIndex), namesMemory: megabytes(after) };
console.log(JSON.stringify({ types: btf.typeCount, index: indexed - start, name: found - indexed, ...sizes }));
