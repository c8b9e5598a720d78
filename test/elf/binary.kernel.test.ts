// Executables of this machine, against readelf; needs no root, but a Linux machine with binutils or llvm.
import { execFileSync } from 'node:child_process';
import { readFileSync, realpathSync } from 'node:fs';
import t from 'tap';
import { EM, fileOffsetOf, notesOf, parseElf, PT, sectionNamed, SHT } from '../../src/elf/index.ts';

t.test('the running node binary', (t) => {
  const path = realpathSync(process.execPath);
  const elf = parseElf(readFileSync(path));
  t.equal(elf.header.machine, process.arch === 'arm64' ? EM.AARCH64 : EM.X86_64);
  const text = execFileSync('llvm-readelf-19', ['-W', '-S', '-l', '-n', path], { encoding: 'utf8', maxBuffer: 1 << 28 });
  t.equal(elf.sections.length, Number(/There are (\d+) section headers/.exec(text)?.[1]));
  const loads = [...text.matchAll(/^ +LOAD +0x([0-9a-f]+) 0x([0-9a-f]+) 0x[0-9a-f]+ 0x([0-9a-f]+)/gm)].map((match) =>
    match.slice(1, 4).map((hex) => Number.parseInt(hex, 16)),
  );
  t.ok(loads.length > 1);
  const ours = elf.segments.filter((segment) => segment.type === PT.LOAD);
  t.same(
    ours.map((segment) => [segment.offset, Number(segment.vaddr), segment.filesz]),
    loads,
  );
  const exec = sectionNamed(elf, '.text');
  t.equal(exec && fileOffsetOf(elf, exec.addr + 16n), (exec?.offset ?? 0) + 16);
  t.equal(fileOffsetOf(elf, 1n << 60n), null);
  const buildId = /Build ID: ([0-9a-f]+)/.exec(text)?.[1];
  const notes = elf.sections.filter((section) => section.type === SHT.NOTE).flatMap((section) => notesOf(elf, section));
  const note = notes.find((candidate) => candidate.name === 'GNU' && candidate.type === 3);
  t.equal(note && Buffer.from(note.desc).toString('hex'), buildId);
  t.end();
});

t.test('dynamic symbols of the C library', (t) => {
  const maps = readFileSync('/proc/self/maps', 'utf8');
  const path = /\S+\/(?:libc\.so\.6|libc\.musl\S+|ld-musl\S+)$/m.exec(maps)?.[0];
  if (path === undefined) throw new Error('no C library is mapped');
  const elf = parseElf(readFileSync(path));
  const text = execFileSync('llvm-readelf-19', ['-W', '--dyn-syms', path], { encoding: 'utf8', maxBuffer: 1 << 26 });
  t.equal(elf.dynamicSymbols.length, Number(/contains (\d+) entries/.exec(text)?.[1]));
  const row = /^ +\d+: ([0-9a-f]+) +(\d+) FUNC +GLOBAL DEFAULT +(\d+) malloc(?:@|$)/m.exec(text);
  const malloc = elf.dynamicSymbols.find((symbol) => symbol.name === 'malloc');
  t.same([malloc?.value, malloc?.size, malloc?.sectionIndex], [BigInt(`0x${row?.[1]}`), BigInt(row?.[2] ?? ''), Number(row?.[3])]);
  t.end();
});
