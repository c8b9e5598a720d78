import { spawnSync } from 'node:child_process';
import t from 'tap';
import { ERRNO, errnoName } from '../../src/sys/errno.ts';
import { SYSCALLS, syscallName, syscallNumber } from '../../src/sys/syscall-table.ts';

type Assert = Pick<typeof t, 'equal' | 'comment'>;

/** Expands macros with the C preprocessor and the system's kernel headers; null where there is no compiler. */
function preprocess(source: string): string | null {
  for (const compiler of ['gcc', 'clang-19', 'clang', 'cc']) {
    const run = spawnSync(compiler, ['-E', '-P', '-x', 'c', '-'], { input: source, encoding: 'utf8' });
    if (run.status === 0) return run.stdout;
  }
  return null;
}

/** Compares a table with the macros of a header; returns how many the header knows. */
function compare(test: Assert, table: Readonly<Record<string, number>>, header: string, prefix: string): number {
  const lines = Object.keys(table).map((name) => `@ "${name}" ${prefix}${name}`);
  const text = preprocess(`#include <${header}>\n${lines.join('\n')}\n`);
  if (text === null) {
    test.comment('no C compiler here');
    return 0;
  }
  let known = 0;
  for (const [, name, value] of text.matchAll(/^@ "(\w+)" (\S+)$/gm)) {
    if (name === undefined || !/^\d+$/.test(value ?? '')) continue;
    known++;
    test.equal(table[name], Number(value), `${name} of ${header}`);
  }
  return known;
}

const compilerMissing = preprocess('') === null ? 'no C compiler' : false;

void t.test('x86-64 numbers are asm/unistd_64.h’s', { skip: compilerMissing }, async (test) => {
  test.ok(compare(test, SYSCALLS.x64, 'asm/unistd_64.h', '__NR_') > 340);
});

void t.test('arm64 numbers are asm-generic/unistd.h’s', { skip: compilerMissing }, async (test) => {
  test.ok(compare(test, SYSCALLS.arm64, 'asm-generic/unistd.h', '__NR_') > 290);
});

void t.test('errnos are asm-generic/errno.h’s', { skip: compilerMissing }, async (test) => {
  test.ok(compare(test, ERRNO, 'asm-generic/errno.h', '') > 130);
  test.equal(errnoName(-2), 'ENOENT');
  test.equal(errnoName(11), 'EAGAIN');
  test.equal(errnoName(9999), 'errno 9999');
});

void t.test('names and numbers', async (test) => {
  test.equal(syscallNumber('x64', 'bpf'), 321);
  test.equal(syscallNumber('arm64', 'bpf'), 280);
  test.equal(syscallName('x64', 59), 'execve');
  test.equal(syscallName('arm64', 221), 'execve');
  test.equal(syscallName('arm64', 9999), 'syscall_9999');
});
