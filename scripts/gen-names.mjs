// Writes src/gadget/special/{signals,open-flags,protocols}.gen.ts from the C library's kernel headers (Debian: linux-libc-dev).
// Usage: node scripts/gen-names.mjs ARM64_INCLUDE    (needs gcc, and the arm64 headers: Debian's linux-libc-dev-arm64-cross,
// ARM64_INCLUDE is its folder include)
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';

const arm64Include = process.argv[2];
if (arm64Include === undefined) {
  console.error('usage: node scripts/gen-names.mjs ARM64_INCLUDE');
  process.exit(2);
}
const gcc = (args, input) => execFileSync('gcc', ['-E', ...args, '-x', 'c', '-'], { encoding: 'utf8', input });
const forArm64 = ['-nostdinc', `-I${arm64Include}`];

/** All macros of a header whose value is an integer: [name, number], in the order of their values. */
function macros(header, pattern, flags = []) {
  const include = `#include <${header}>\n`;
  const names = [...gcc([...flags, '-dM'], include).matchAll(/^#define (\w+) /gm)]
    .map((match) => match[1])
    .filter((name) => pattern.test(name));
  const expanded = gcc([...flags, '-P'], include + names.map((name) => `@ "${name}" ${name}\n`).join(''));
  return [...expanded.matchAll(/^@ "(\w+)" ([0-9xa-fA-F()| ]+)$/gm)]
    .map(([, name, text]) => [name, evaluate(text)])
    .toSorted((a, b) => a[1] - b[1] || (a[0] < b[0] ? -1 : 1));
}

/** C's integers: 0100 is octal. */
function evaluate(text) {
  return text
    .replace(/[()\s]/g, '')
    .split('|')
    .map((part) => Number(/^0[0-7]+$/.test(part) ? `0o${part.slice(1)}` : part))
    .reduce((all, part) => all + (part & ~all), 0);
}

/** Enumerators of an enum in a header, by name. */
function enumerators(header, pattern) {
  const include = `#include <${header}>\n`;
  return [...gcc(['-P'], include).matchAll(/\b(\w+) = (\d+)/g)]
    .map(([, name, value]) => [name, Number(value)])
    .filter(([name]) => pattern.test(name));
}

function write(file, text) {
  const head = "// Made by scripts/gen-names.mjs from the kernel's headers; do not edit.\n\n";
  writeFileSync(new URL(`../src/gadget/special/${file}`, import.meta.url), head + text);
}
const rows = (entries) => entries.map(([name, value]) => `  ${name}: ${value},\n`).join('');

const signalPattern = /^SIG[A-Z0-9]+$/;
// SIGIOT and SIGPOLL are second names; SIGRTMIN and above are real-time, MINSIGSTKSZ and SIGSTKSZ no signals.
const notSignals = new Set(['SIGIOT', 'SIGPOLL', 'SIGUNUSED', 'SIGRTMIN', 'SIGRTMAX', 'SIGSTKSZ', 'SIGLOST']);
const signals = (flags) => macros('asm/signal.h', signalPattern, flags).filter(([name]) => !notSignals.has(name));
if (JSON.stringify(signals([])) !== JSON.stringify(signals(forArm64))) throw new Error('signals differ between architectures');
write(
  'signals.gen.ts',
  `/** Signals, the same on x86-64 and arm64 (asm/signal.h). */\nexport const SIGNALS = {\n${rows(signals([]))}} as const;\n`,
);

const notFlags = new Set(['O_RDONLY', 'O_WRONLY', 'O_RDWR', 'O_ACCMODE', 'O_NDELAY']);
function openFlags(flags) {
  const all = macros('asm/fcntl.h', /^(?:O_[A-Z]+|__O_[A-Z]+|FASYNC)$/, flags).filter(([name]) => !notFlags.has(name));
  const combined = new Map(all);
  // Flags of several bits are known by all of them: O_SYNC is __O_SYNC and O_DSYNC, O_TMPFILE is __O_TMPFILE and O_DIRECTORY.
  const sync = combined.get('__O_SYNC');
  const list = all
    .filter(([name]) => !name.startsWith('__'))
    .map(([name, value]) => ({ name: name === 'FASYNC' ? 'O_FASYNC' : name, value, key: name === 'O_SYNC' ? sync : value }));
  // Of combined flags the combination goes before its parts.
  const bits = (value) => value.toString(2).replaceAll('0', '').length;
  return list
    .filter(({ value }) => value !== 0)
    .toSorted((a, b) => bits(b.value) - bits(a.value) || a.value - b.value || (a.name < b.name ? -1 : 1))
    .map(({ name, value }) => `    ['${name}', 0o${value.toString(8)}],\n`)
    .join('');
}
write(
  'open-flags.gen.ts',
  `/** Flags of open(2) by architecture (asm/fcntl.h), those of several bits before their parts. */\nexport const OPEN_FLAGS = {\n  x64: [\n${openFlags([])}  ],\n  arm64: [\n${openFlags(forArm64)}  ],\n} as const;\n`,
);

const protocols = new Map();
for (const [name, value] of [...enumerators('linux/in.h', /^IPPROTO_/), ...macros('linux/in6.h', /^IPPROTO_/)]) {
  const short = name.slice('IPPROTO_'.length);
  if (short !== 'MAX' && ![...protocols.values()].includes(value)) protocols.set(short, value);
}
write(
  'protocols.gen.ts',
  `/** IP protocols (linux/in.h, linux/in6.h), without IPPROTO_. */\nexport const IP_PROTOCOLS = {\n${rows([...protocols].toSorted((a, b) => a[1] - b[1]))}} as const;\n`,
);
