// Names of this machine's binaries against nm, and stacks of processes against what the processes say of themselves.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { closeSync, copyFileSync, mkdtempSync, openSync, readFileSync, readSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { readBinary } from '../../../src/gadget/symbols/binary.ts';
import { BoundedFile } from '../../../src/sys/bounded-file.ts';
import { Symbolizer } from '../../../src/gadget/symbols/symbolizer.ts';
import type { StackOwner } from '../../../src/gadget/symbols/stack-owner.ts';
import { fileOffsetOf, parseElf, SHF, STT } from '../../../src/elf/index.ts';

const stacks = fileURLToPath(new URL('../../../../fixtures/stacks/', import.meta.url));
const owner = (pid: number, more: Partial<StackOwner> = {}): StackOwner => ({
  key: `${pid}`,
  pid,
  tid: pid,
  exe: null,
  bornBefore: null,
  ...more,
});

/** Functions that nm lists, by address: all names of each. */
function nmOf(file: string, dynamic: boolean): Map<number, string[]> {
  const text = execFileSync('nm', [...(dynamic ? ['-D'] : []), '--defined-only', '--without-symbol-versions', file], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  const names = new Map<number, string[]>();
  for (const [, address = '', name = ''] of text.matchAll(/^([0-9a-f]+) [TtWwi] (.+)$/gm)) {
    const at = Number.parseInt(address, 16);
    names.set(at, [...(names.get(at) ?? []), name]);
  }
  return names;
}

void t.test('functions of binaries, as nm has them', (t) => {
  const libc = /\S+\/libc\.so\.6$/m.exec(readFileSync('/proc/self/maps', 'utf8'))?.[0] ?? '';
  for (const [file, dynamic] of [
    [path.join(stacks, 'busy'), false],
    [realpathSync(process.execPath), false],
    [libc, true],
    ['/bin/bash', true],
  ] as const) {
    const opened = BoundedFile.open(file, true);
    if (opened === null) throw new Error(`${file} is not here`);
    const binary = readBinary(
      (offset, length) => opened.read(offset, length),
      () => null,
    );
    opened.close();
    const elf = parseElf(readFileSync(file));
    const names = nmOf(file, dynamic);
    // Data that lies among code, and weak data, which nm gives the letter of weak functions.
    const data = [...elf.symbols, ...elf.dynamicSymbols].filter(
      ({ type, sectionIndex }) => type === STT.OBJECT || ((elf.sections[sectionIndex]?.flags ?? 0n) & SHF.EXECINSTR) === 0n,
    );
    for (const { value } of data) names.delete(Number(value));
    t.ok(names.size > 3, `${file} has functions`);
    let wrong = 0;
    let asked = 0;
    const step = Math.ceil(names.size / 2000);
    for (const [i, [address, all]] of [...names].entries()) {
      const offset = i % step === 0 ? fileOffsetOf(elf, BigInt(address)) : null;
      if (offset === null) continue;
      const name = binary?.nameAt(offset) ?? '';
      asked++;
      if (all.includes(name)) continue;
      wrong++;
      if (wrong < 5) t.comment(`${file}: 0x${address.toString(16)} is ${name}, nm has ${all.join(', ')}`);
    }
    t.ok(asked > 3, `${file}: ${asked} asked`);
    t.equal(wrong, 0, `${file}: as nm has them`);
  }
  t.end();
});

/** Starts a program that says where its functions lie. */
async function busy(
  t: Test,
  file: string,
  ...args: readonly string[]
): Promise<{ readonly child: ChildProcess; readonly pid: number; readonly at: ReadonlyMap<string, bigint> }> {
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  let text = '';
  for await (const data of child.stdout) {
    text += String(data);
    if (text.includes('main ')) break;
  }
  return {
    child,
    pid: child.pid ?? 0,
    at: new Map([...text.matchAll(/^(\w+) 0x([0-9a-f]+)$/gm)].map(([, name = '', hex]) => [name, BigInt(`0x${hex}`)])),
  };
}

void t.test('addresses of a process that says what lies there', async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-stacks-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  for (const file of ['busy', 'busy-stripped', 'busy-stripped.debug']) copyFileSync(path.join(stacks, file), path.join(folder, file));
  const gone = path.join(folder, 'gone');
  copyFileSync(path.join(stacks, 'busy'), gone);
  for (const [what, file] of [
    ['.symtab', path.join(stacks, 'busy')],
    ['a debug file by .gnu_debuglink', path.join(folder, 'busy-stripped')],
    ['a binary that was deleted', gone],
  ] as const) {
    const { pid, at } = await busy(t, file);
    if (file === gone) rmSync(gone);
    const wanted = ['busy_leaf', 'busy_clock', 'busy_middle', 'main'];
    const addresses = wanted.map((name) => at.get(name) ?? 0n);
    const symbolizer = new Symbolizer();
    // One by one: each as the innermost of a stack.
    t.same(
      addresses.map((address) => symbolizer.namesOf(owner(pid), [address])[0]),
      wanted,
      `${what}: first byte`,
    );
    t.same(
      symbolizer.namesOf(owner(pid), [addresses[0] ?? 0n, ...addresses.map((address) => address + 1n), 1n, 2n ** 64n - 1n]),
      ['busy_leaf', ...wanted, null, null],
      `${what}: where calls return to`,
    );
  }
  rmSync(path.join(folder, 'busy-stripped.debug'));
  const { pid, at } = await busy(t, path.join(folder, 'busy-stripped'));
  t.same(new Symbolizer().namesOf(owner(pid), [at.get('busy_leaf') ?? 0n]), [null], 'stripped, and no debug file');
  copyFileSync(path.join(stacks, 'busy'), path.join(folder, 'busy-stripped.debug'));
  t.same(new Symbolizer().namesOf(owner(pid), [at.get('busy_leaf') ?? 0n]), ['busy_leaf'], 'a file with the same build id will do');
  copyFileSync('/bin/bash', path.join(folder, 'busy-stripped.debug'));
  t.same(new Symbolizer().namesOf(owner(pid), [at.get('busy_leaf') ?? 0n]), [null], 'a debug file of another binary is refused');
});

void t.test('another process with the pid of one that has gone', async (t) => {
  const { pid, at } = await busy(t, path.join(stacks, 'busy'));
  const address = [at.get('main') ?? 0n];
  const names = (more: Partial<StackOwner>): readonly (string | null)[] => new Symbolizer().namesOf(owner(pid, more), address);
  t.same(names({}), ['main']);
  t.same(names({ bornBefore: 1_000_000_000n }), [null], 'it was not there yet');
  t.same(names({ exe: { inode: 1n, mtimeSeconds: 1n } }), [null], 'it ran another program');
  t.same(names({ pid: 4_194_304, tid: 4_194_304 }), [null], 'there is none');
});

void t.test('what a compiler writes to /tmp/perf-PID.map', async (t) => {
  // It writes a log where it runs.
  const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-jit-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const script =
    'function jitted(n) { let s = 0; for (let i = 0; i < n; i++) s += i % 7; return s; } let s = 0; for (let i = 0; i < 3000; i++) s += jitted(1000); console.log(s); setInterval(() => {}, 1000);';
  const child = spawn(process.execPath, ['--perf-basic-prof', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'], cwd: folder });
  const file = `/tmp/perf-${child.pid}.map`;
  t.teardown(() => rmSync(file, { force: true }));
  t.teardown(() => child.kill('SIGKILL'));
  for await (const data of child.stdout) if (String(data).length > 0) break;
  const entries = [...readFileSync(file, 'utf8').matchAll(/^([0-9a-f]+) ([0-9a-f]+) (.*jitted.*)$/gm)];
  const [, start = '', , name = ''] = entries.at(-1) ?? [];
  t.match(name, /jitted/);
  t.same(new Symbolizer().namesOf(owner(child.pid ?? 0), [BigInt(`0x${start}`) + 2n]), [name]);
});

void t.test('functions of the vdso, as nm has them', (t) => {
  const maps = /^([0-9a-f]+)-([0-9a-f]+) .*\[vdso\]$/m.exec(readFileSync('/proc/self/maps', 'latin1'));
  const [start, end] = [Number.parseInt(maps?.[1] ?? '', 16), Number.parseInt(maps?.[2] ?? '', 16)];
  const image = Buffer.alloc(end - start);
  const fd = openSync('/proc/self/mem', 'r');
  readSync(fd, image, 0, image.length, start);
  closeSync(fd);
  const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-vdso-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  writeFileSync(path.join(folder, 'vdso.so'), image);
  const names = nmOf(path.join(folder, 'vdso.so'), true);
  t.ok(names.size > 2);
  const symbolizer = new Symbolizer();
  for (const [offset, all] of names) {
    const [name] = symbolizer.namesOf(owner(process.pid), [BigInt(start + offset)]);
    t.ok(all.includes(name ?? ''), `${name} is one of ${all.join(', ')}`);
  }
  t.end();
});
