// The running kernel's BTF as C, through clang, against what bpftool reads in it. Needs clang-19, clang-14 and bpftool, not root.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import t from 'tap';
import { Btf, dumpC, dumpRaw } from '../../../src/btf/index.ts';
import { assertionsFor, type ShownType } from './assertions.ts';
import { compile } from './clang.ts';

const path = '/sys/kernel/btf/vmlinux';
const btf = Btf.parse(readFileSync(path));
const header = [...dumpC(btf)].join('');

function bpftool(...args: string[]): string {
  const { stdout, error } = spawnSync('/usr/sbin/bpftool', args, { encoding: 'utf8', maxBuffer: 1 << 28 });
  if (error !== undefined) throw error;
  return stdout;
}

t.test('vmlinux.h has every size and offset of the kernel', (t) => {
  const { types } = JSON.parse(bpftool('-j', 'btf', 'dump', 'file', path)) as { types: ShownType[] };
  const assertions = assertionsFor(types, header);
  t.ok(assertions.length > 30_000, `${assertions.length} assertions`);
  const { errors, object } = compile(`#include "vmlinux.h"\n${assertions.join('\n')}\n`, { headers: { 'vmlinux.h': header } });
  t.equal(errors.split('\n').slice(0, 20).join('\n'), '');
  t.not(object, null);
  const [first = ''] = assertions;
  const wrong = first.replace(/== (\d+)/, '== 9$1');
  t.match(
    compile(`#include "vmlinux.h"\n${wrong}\n`, { headers: { 'vmlinux.h': header } }).errors,
    /static assertion failed/,
    'a wrong size is found',
  );
  t.end();
});

t.test('vmlinux.h compiles after nothing else, without warnings, with debug information', (t) => {
  for (const clang of ['clang-14', 'clang-19']) {
    const flags = ['-g', '-Wall', '-Wextra', '-Werror'];
    t.equal(compile('#include "vmlinux.h"\n', { headers: { 'vmlinux.h': header }, flags, clang }).errors, '', clang);
  }
  t.equal(
    compile('#include "vmlinux.h"\n', { headers: { 'vmlinux.h': header }, flags: ['-std=gnu23', '-Wall', '-Werror'] }).errors,
    '',
    'as C23',
  );
  t.end();
});

t.test('the raw dump is what bpftool prints', (t) => {
  const theirs = bpftool('btf', 'dump', 'file', path).split('\n');
  const ours = [...dumpRaw(btf)].join('').split('\n');
  t.equal(ours.length, theirs.length);
  t.same(ours.filter((line, i) => line !== theirs[i]).slice(0, 5), []);
  t.end();
});

t.test('the committed headers compile', (t) => {
  for (const arch of ['amd64', 'arm64']) {
    const text = readFileSync(new URL(`../../../../include/gadget/${arch}/vmlinux.h`, import.meta.url), 'utf8');
    for (const clang of ['clang-14', 'clang-19']) {
      const use = '#include "vmlinux.h"\nint pid(struct task_struct *task) { return task->tgid; }\n';
      t.equal(
        compile(use, { headers: { 'vmlinux.h': text }, flags: ['-g', '-Wall', '-Wextra', '-Werror'], clang }).errors,
        '',
        `${arch} ${clang}`,
      );
    }
  }
  t.end();
});
