import { readdirSync, readFileSync, readlinkSync, statSync, type Stats } from 'node:fs';
import path from 'node:path';
import { UsageError } from '../../error.ts';
import { BoundedFile } from '../../sys/bounded-file.ts';
import { libraryFolders } from './binary.ts';
import { parseLdCache } from './ld-cache.ts';

/**
 * Whether a file's name is that of a library: for `libssl` these are `libssl.so`, `libssl.so.3` and `libssl-3.so`, for
 * `libssl.so.3` only itself. musl's C library is in its dynamic linker.
 */
export function isLibraryNamed(file: string, library: string): boolean {
  if (/\.so(\.|$)/.test(library)) return file === library;
  if (library === 'libc' && /^(ld-musl-.*|libc\.musl-.*)\.so(\.|$)/.test(file)) return true;
  if (!file.startsWith(library)) return false;
  return /^(-[\d.]+)?\.so(\.|$)/.test(file.slice(library.length));
}

/**
 * Paths of the libraries of a name, as programs of this machine find them: by the dynamic linker's cache, and in
 * LD_LIBRARY_PATH and the usual folders. Several versions may be there; a file with several names is given once.
 *
 * @param root where the file system is looked at from: `/proc/PID/root` for that of a container
 */
export function findLibraries(library: string, root = ''): readonly string[] {
  const files: string[] = [];
  for (const { name, path: at } of ldCache(root)) if (isLibraryNamed(name, library)) files.push(inRoot(root, at));
  for (const folder of libraryFolders()) {
    if (!folder.startsWith('/')) continue;
    for (const name of names(inRoot(root, folder))) if (isLibraryNamed(name, library)) files.push(inRoot(root, path.join(folder, name)));
  }
  return distinctFiles(files);
}

/**
 * Paths of the libraries of a name that a process has loaded, or could load: by its memory, or else by its own dynamic linker's
 * cache; they lead through /proc/PID/root, so also into a container. Its program is among them where no library is loaded, since
 * the functions may be linked into it.
 *
 * Throws UsageError `E_PROCESS` where there is no such process.
 */
export function librariesOfProcess(library: string, pid: number): readonly string[] {
  const loaded = distinctFiles(
    mappedFiles(pid)
      .filter(({ file }) => isLibraryNamed(path.posix.basename(file), library))
      .map((mapped) => wayTo(pid, mapped)),
  );
  return loaded.length > 0 ? loaded : distinctFiles([...findLibraries(library, `/proc/${pid}/root`), `/proc/${pid}/exe`]);
}

/** A file that a process has mapped. */
interface MappedFile {
  readonly file: string;
  readonly range: string;
  readonly inode: number;
}

/** The files that a process has mapped, each once. */
function mappedFiles(pid: number): readonly MappedFile[] {
  let maps: string;
  try {
    maps = readFileSync(`/proc/${pid}/maps`, 'utf8');
  } catch (cause) {
    throw new UsageError({ code: 'E_PROCESS', what: 'there is no such process, or it may not be looked at', where: { pid }, cause });
  }
  const files = new Map<string, MappedFile>();
  for (const line of maps.split('\n')) {
    // proc_pid_maps(5): range, permissions, offset, device, inode, path.
    const [, range = '', inode = '', named = ''] = /^(\S+) \S+ \S+ \S+ (\d+) +(\/.*)$/.exec(line) ?? [];
    const file = named.replace(/ \(deleted\)$/, '');
    if (file !== '' && !files.has(file)) files.set(file, { file, range, inode: Number(inode) });
  }
  return [...files.values()];
}

/**
 * How to open a mapped file: by its path in the process's root, or, where a chroot within this mount namespace makes the kernel
 * tell it so, by its path here. Where neither is that file any more (it was replaced, as updates do), through the mapping.
 */
function wayTo(pid: number, { file, range, inode }: MappedFile): string {
  const ways = [`/proc/${pid}/root${file}`, file];
  return ways.find((way) => statOf(way)?.ino === inode) ?? `/proc/${pid}/map_files/${range}`;
}

function ldCache(root: string): ReturnType<typeof parseLdCache> {
  try {
    // musl and stripped-down images have none.
    return parseLdCache(startOf(inRoot(root, '/etc/ld.so.cache'), mostCacheBytes) ?? new Uint8Array(0), process.arch);
  } catch {
    return [];
  }
}

/** Thousands of libraries make a cache of some 100 KiB. */
const mostCacheBytes = 16 << 20;

/** The first bytes of a file; null for what is no regular file: a container may put a FIFO or a device there. */
function startOf(file: string, most: number): Uint8Array | null {
  const opened = BoundedFile.open(file, true);
  try {
    return opened?.read(0, most) ?? null;
  } finally {
    opened?.close();
  }
}

function names(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/**
 * Where a path of another root is: symbolic links are followed as a process with that root does, so that an absolute one does
 * not lead out of it. A path that is not there is given as it is.
 */
function inRoot(root: string, file: string): string {
  if (root === '') return file;
  let done = '';
  let rest = file.split('/').filter((part) => part !== '');
  for (let steps = 0; rest.length > 0 && steps < maxSteps; steps++) {
    const [part = '', ...after] = rest;
    if (part === '..') {
      done = path.posix.dirname(done).replace(/^[/.]$/, '');
      rest = after;
      continue;
    }
    const link = part === '.' ? null : linkOf(`${root}${done}/${part}`);
    if (link === null) {
      if (part !== '.') done += `/${part}`;
      rest = after;
    } else {
      if (link.startsWith('/')) done = '';
      rest = [...link.split('/').filter((each) => each !== ''), ...after];
    }
  }
  return `${root}${done}`;
}

/** The kernel follows 40 links; each may have some parts. */
const maxSteps = 400;

/** Null for what is not there any more, or not to be looked at. */
function statOf(file: string): Stats | null {
  try {
    return statSync(file);
  } catch {
    return null;
  }
}

function linkOf(file: string): string | null {
  try {
    return readlinkSync(file);
  } catch {
    return null;
  }
}

// ELFCLASS64, and e_machine.
const machines: Readonly<Record<string, number>> = { x64: 62, arm64: 183 };

/** Whether a file is a program or library of this machine: folders have libraries of others, too, and scripts of the linker. */
function isOfThisMachine(file: string): boolean {
  let header: Uint8Array | null;
  try {
    header = startOf(file, 20);
  } catch {
    return false;
  }
  if (header === null || header.length < 20) return false;
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  return view.getUint32(0) === 0x7f454c46 && header[4] === 2 && view.getUint16(18, true) === machines[process.arch];
}

/** Those of the files that are there, each once whatever it is called. */
function distinctFiles(files: readonly string[]): readonly string[] {
  const found = new Map<string, string>();
  for (const file of new Set(files)) {
    if (!isOfThisMachine(file)) continue;
    const stat = statOf(file);
    if (stat === null) continue;
    const key = `${stat.dev}:${stat.ino}`;
    if (!found.has(key)) found.set(key, file);
  }
  return [...found.values()];
}
