// Writes src/sys/syscalls.gen.ts and src/sys/errnos.gen.ts from the C library's kernel headers (Debian: linux-libc-dev).
// Usage: node scripts/gen-syscalls.mjs    (needs gcc)
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';

const gcc = (args, input) => execFileSync('gcc', ['-E', ...args, '-x', 'c', '-'], { encoding: 'utf8', input });

/** All macros of a header that start with `prefix`, expanded: [name without prefix, number]. */
function macros(header, prefix, defines = '') {
  const include = `${defines}\n#include <${header}>\n`;
  const names = [...gcc(['-dM'], include).matchAll(/^#define (\w+) /gm)].map((match) => match[1]).filter((name) => name.startsWith(prefix));
  const expanded = gcc(['-P'], include + names.map((name) => `@ "${name}" ${name}\n`).join(''));
  return [...expanded.matchAll(/^@ "(\w+)" (\d+)$/gm)].map(([, name, value]) => [name.slice(prefix.length), Number(value)]);
}

// Newer than Debian 12's headers; arch/x86/entry/syscalls/syscall_64.tbl and scripts/syscall.tbl give both the same number.
const newer = {
  cachestat: 451,
  fchmodat2: 452,
  map_shadow_stack: 453,
  futex_wake: 454,
  futex_wait: 455,
  futex_requeue: 456,
  statmount: 457,
  listmount: 458,
  lsm_get_self_attr: 459,
  lsm_set_self_attr: 460,
  lsm_list_modules: 461,
  mseal: 462,
  setxattrat: 463,
  getxattrat: 464,
  listxattrat: 465,
  removexattrat: 466,
  open_tree_attr: 467,
  file_getattr: 468,
  file_setattr: 469,
  listns: 470,
};

// What arch/arm64/include/uapi/asm/unistd.h asks of the generic table.
const arm64 = ['RENAMEAT', 'NEW_STAT', 'SET_GET_RLIMIT', 'TIME32_SYSCALLS', 'SYS_CLONE3', 'MEMFD_SECRET']
  .map((name) => `#define __ARCH_WANT_${name}`)
  .join('\n');
const notSyscalls = new Set(['syscalls', 'arch_specific_syscall']);

function table(constant, about, rows) {
  const sorted = [...new Map(rows)].toSorted((a, b) => a[1] - b[1] || (a[0] < b[0] ? -1 : 1));
  return `/** ${about} */\nexport const ${constant} = {\n${sorted.map(([name, value]) => `  ${name}: ${value},`).join('\n')}\n} as const;\n`;
}
const write = (file, tables) => {
  const text = `// Made by scripts/gen-syscalls.mjs from the kernel's headers; do not edit.\n\n${tables.join('\n')}`;
  writeFileSync(new URL(`../src/sys/${file}`, import.meta.url), text);
};
const numbers = (header, defines) => [
  ...Object.entries(newer),
  ...macros(header, '__NR_', defines).filter(([name]) => !notSyscalls.has(name)),
];

write('syscalls.gen.ts', [
  table('SYSCALLS_X64', 'System calls of x86-64 (asm/unistd_64.h).', numbers('asm/unistd_64.h')),
  table('SYSCALLS_ARM64', 'System calls of arm64 (asm-generic/unistd.h).', numbers('asm-generic/unistd.h', arm64)),
]);
const aliases = new Set(['EWOULDBLOCK', 'EDEADLOCK']);
const errnos = macros('asm-generic/errno.h', 'E').map(([name, value]) => [`E${name}`, value]);
write('errnos.gen.ts', [
  table('ERRNO', 'Error numbers, the same on x86-64 and arm64 (asm-generic/errno.h), and the kernel-internal ones that bpf(2) lets out.', [
    ...errnos.filter(([name]) => !aliases.has(name)),
    ['ENOTSUPP', 524],
  ]),
]);
