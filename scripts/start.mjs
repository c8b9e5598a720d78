// `npm start [-- GADGET FLAGS]`: installs, builds and runs a gadget until Ctrl-C; stdout carries the gadget's data alone.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { build, installPackages, root } from './setup.mjs';

const CAP_SYS_ADMIN = 1n << 21n;
const CAP_BPF = 1n << 39n;

// Asked before anything is installed: nobody should wait a minute to read this.
const capabilities = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'}`);
if ((capabilities & (CAP_SYS_ADMIN | CAP_BPF)) === 0n) {
  console.error('rawbpf: loading BPF programs needs root: run this again as root (or with CAP_BPF and CAP_PERFMON)');
  process.exit(1);
}

installPackages();
build();

const args = process.argv.slice(2);
const gadget = args[0] === undefined || args[0].startsWith('-') ? ['trace_exec'] : [];
// npm may be killed without a chance to pass the signal on.
process.env.RAWBPF_END_WITH_PARENT = '1';
const { main } = await import(pathToFileURL(path.join(root, 'build', 'src', 'cli', 'main.js')).href);
await main(['run', ...gadget, ...args]);
