import { existsSync } from 'node:fs';
import { parseElf } from '../../elf/file.ts';
import type { ElfFile } from '../../elf/types.ts';
import { UsageError } from '../../error.ts';
import { BoundedFile } from '../../sys/bounded-file.ts';
import { nearPath } from '../near-path.ts';

const architectureFolder: Readonly<Record<string, string>> = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' };

/**
 * The file that a name in a uprobe target means: a path as it is; `libc.so.6` by LD_LIBRARY_PATH and the usual library
 * folders; anything else as a program by PATH and the usual folders. Throws E_BINARY where there is none.
 */
export function resolveBinary(name: string): string {
  if (name.includes('/')) {
    if (existsSync(name)) return name;
    throw new UsageError({ code: 'E_BINARY', what: 'no such file', where: { path: name }, next: nearPath(name) });
  }
  const isLibrary = /\.so(\.|$)/.test(name);
  const folders = isLibrary
    ? libraryFolders()
    : [...(process.env['PATH'] ?? '').split(':'), '/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];
  const found = folders
    .filter((folder) => folder !== '')
    .map((folder) => `${folder}/${name}`)
    .find((path) => existsSync(path));
  if (found !== undefined) return found;
  throw new UsageError({
    code: 'E_BINARY',
    what: isLibrary ? 'no such library' : 'no such program',
    where: { name },
    next: 'give its path',
  });
}

export function libraryFolders(): string[] {
  const triplet = architectureFolder[process.arch] ?? '';
  const usual = ['/usr/lib64', '/usr/lib', `/usr/lib/${triplet}`, `/lib/${triplet}`, '/lib64', '/lib', '/usr/local/lib'];
  return [...(process.env['LD_LIBRARY_PATH'] ?? '').split(':'), ...usual];
}

/** Node reads no more at once. */
const mostBytes = 2 ** 31 - 1;

/** A program or library, parsed. Throws E_BINARY for what is no file that can be read, FormatError for what is no ELF file. */
export function readBinary(path: string): ElfFile {
  // Of a container's file nothing is sure: opening a FIFO would wait for ever.
  const file = BoundedFile.open(path, true);
  const unreadable = (why: string, cause?: unknown): UsageError =>
    new UsageError({ code: 'E_BINARY', what: 'a program or library cannot be read', where: { path }, why, cause });
  if (file === null) throw unreadable('it is not there, may not be read, or is no regular file');
  try {
    if (file.stat.size > mostBytes) throw unreadable(`it has ${file.stat.size} bytes, more than ${mostBytes}`);
    return parseElf(file.read(0, Number(file.stat.size)));
  } finally {
    file.close();
  }
}
