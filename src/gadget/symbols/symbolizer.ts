import { readFileSync, readlinkSync, statSync } from 'node:fs';
import { demangle } from './demangle.ts';
import { type Binary, readBinary } from './binary.ts';
import { BoundedFile } from '../../sys/bounded-file.ts';
import { findDebugFile } from './debug-files.ts';
import { PerfMap } from './perf-map.ts';
import { mappingAt, parseMaps, type ProcessMapping } from './process-maps.ts';
import { isOwnProcess, type StackOwner } from './stack-owner.ts';
import { readVdso } from './vdso.ts';

/** Bytes of names that are kept for binaries that may be asked about again. */
const maxKeptBytes = 192 << 20;
/** Processes whose mappings are kept. */
const maxProcesses = 512;
/** A larger perf-PID.map is not read. */
const maxPerfMap = 64n << 20n;
/** Milliseconds after which a process may have new mappings. */
const staleMs = 100;

interface Process {
  readonly root: string;
  readonly folder: string;
  mappings: readonly ProcessMapping[];
  readAt: number;
  perfMap: PerfMap | null;
  perfMapStamp: string;
}

/** Names of addresses in user space: reads what processes map, and keeps the functions of each file once. */
export class Symbolizer {
  readonly #processes = new Map<string, Process | null>();
  readonly #binaries = new Map<string, Binary | null>();
  readonly #byBuildId = new Map<string, Binary>();
  #kept = 0;
  #vdso: Binary | null | undefined;

  /** The functions at a process's addresses, innermost first; null for those that have no name, or whose process is gone. */
  namesOf(owner: StackOwner, addresses: readonly bigint[]): readonly (string | null)[] {
    const process = this.#processOf(owner);
    if (process === null) return addresses.map(() => null);
    return addresses.map((address, depth) => {
      const at = Number(address);
      if (!Number.isSafeInteger(at)) return null;
      // Callers are told by where they go on, which may be behind the function's end: the call itself lies before.
      if (depth === 0) return this.#nameAt(process, owner, at);
      return this.#nameAt(process, owner, at - 1) ?? this.#nameAt(process, owner, at);
    });
  }

  /** The function at an offset in the file with this build id; null where no file with it has been seen. */
  nameInFile(buildId: string, offset: bigint, depth: number): string | null {
    const binary = this.#byBuildId.get(buildId) ?? this.#installed(buildId);
    if (binary === null || binary === undefined) return null;
    const at = Number(offset);
    const name = (depth > 0 ? binary.nameAt(at - 1) : null) ?? binary.nameAt(at);
    return name === null ? null : demangle(name);
  }

  #nameAt(process: Process, owner: StackOwner, address: number): string | null {
    let mapping = mappingAt(process.mappings, address);
    if (mapping === null && performance.now() - process.readAt > staleMs && isOwnProcess(process.folder, owner)) {
      // Loaded since.
      process.readAt = performance.now();
      const mappings = readMaps(process.folder);
      if (mappings.length > 0) process.mappings = mappings;
      mapping = mappingAt(process.mappings, address);
    }
    if (mapping !== null && mapping.path === '[vdso]') {
      this.#vdso ??= readVdso();
      return this.#vdso?.nameAt(address - mapping.start + mapping.offset) ?? null;
    }
    const binary = mapping === null || mapping.inode === 0 ? null : this.#binaryOf(process, mapping);
    const name = mapping === null ? null : (binary?.nameAt(address - mapping.start + mapping.offset) ?? null);
    if (name !== null) return demangle(name);
    return binary === null ? this.#jitName(process, address) : null;
  }

  #processOf(owner: StackOwner): Process | null {
    const known = this.#processes.get(owner.key);
    if (known !== undefined) return known;
    if (this.#processes.size >= maxProcesses) {
      for (const key of this.#processes.keys()) {
        this.#processes.delete(key);
        break;
      }
    }
    const process = openProcess(owner);
    this.#processes.set(owner.key, process);
    return process;
  }

  #binaryOf(process: Process, mapping: ProcessMapping): Binary | null {
    // The path tells files of stacked file systems apart, which may share device and inode.
    const key = `${mapping.file}:${mapping.path}`;
    const known = this.#binaries.get(key);
    if (known !== undefined) return known;
    const binary = openBinary(process, mapping);
    this.#binaries.set(key, binary);
    if (binary !== null) this.#keep(binary);
    return binary;
  }

  #keep(binary: Binary): void {
    if (binary.buildId !== null) this.#byBuildId.set(binary.buildId, binary);
    this.#kept += binary.bytes;
    for (const [key, old] of this.#binaries) {
      if (this.#kept <= maxKeptBytes && this.#binaries.size <= 4096) break;
      if (old === binary) continue;
      this.#binaries.delete(key);
      this.#kept -= old?.bytes ?? 0;
      if (old !== null && old.buildId !== null) this.#byBuildId.delete(old.buildId);
    }
  }

  /** A debug file that is installed here tells too, for its segments lie as the binary's do. */
  #installed(buildId: string): Binary | null {
    const key = `build-id:${buildId}`;
    const known = this.#binaries.get(key);
    if (known !== undefined) return known;
    const own = this.#ownFiles().find((binary) => binary.buildId === buildId) ?? null;
    this.#binaries.set(key, own);
    return own;
  }

  /** This process's own files: its C library is most processes'. */
  #ownFiles(): readonly Binary[] {
    const process = this.#processOf({ key: 'self', pid: 0, tid: 0, exe: null, bornBefore: null });
    const own = process?.mappings.filter(({ inode }) => inode > 0) ?? [];
    return process === null ? [] : own.flatMap((mapping) => this.#binaryOf(process, mapping) ?? []);
  }

  /** Looked at again when it grew: compilers append. */
  #jitName(process: Process, address: number): string | null {
    const found = process.perfMap?.nameOf(address) ?? null;
    if (found !== null) return found;
    const pid = innermostPid(process.folder);
    const file = pid === null ? null : BoundedFile.open(`${process.root}/tmp/perf-${pid}.map`);
    if (file === null) return null;
    try {
      const stamp = `${file.stat.size}:${file.stat.mtimeNs}`;
      if (stamp === process.perfMapStamp || file.stat.size > maxPerfMap) return null;
      process.perfMapStamp = stamp;
      process.perfMap = PerfMap.parse(Buffer.from(file.read(0, Number(file.stat.size))).toString());
      return process.perfMap.nameOf(address);
    } finally {
      file.close();
    }
  }
}

function openProcess(owner: StackOwner): Process | null {
  // Once its first thread has ended, a process has mappings only by another one.
  for (const folder of owner.pid === 0 ? ['/proc/self'] : [`/proc/${owner.pid}`, `/proc/${owner.pid}/task/${owner.tid}`]) {
    if (!isOwnProcess(folder, owner)) continue;
    const mappings = readMaps(folder);
    if (mappings.length > 0)
      return { root: `${folder}/root`, folder, mappings, readAt: performance.now(), perfMap: null, perfMapStamp: '' };
  }
  return null;
}

function readMaps(folder: string): readonly ProcessMapping[] {
  try {
    return parseMaps(readFileSync(`${folder}/maps`, 'utf8'));
  } catch {
    return [];
  }
}

/** The pid that the process knows itself by: /tmp/perf-PID.map has it. */
function innermostPid(folder: string): string | null {
  try {
    return /^NSpid:.*\s(\d+)$/m.exec(readFileSync(`${folder}/status`, 'utf8'))?.[1] ?? null;
  } catch {
    return null;
  }
}

function openBinary(process: Process, mapping: ProcessMapping): Binary | null {
  const file = openMapped(process, mapping);
  if (file === null) return null;
  try {
    const root = sameRoot(process.root) ? '' : process.root;
    return readBinary(
      (offset, length) => file.read(offset, length),
      (buildId, link) => {
        const found = findDebugFile(mapping.path, root, buildId, link);
        return found === null ? null : { read: (offset, length) => found.read(offset, length), close: () => found.close() };
      },
    );
  } catch {
    // It shrank, or the disk fails.
    return null;
  } finally {
    file.close();
  }
}

/** The file that is mapped: by its link, which finds deleted and replaced files too, else by its path, if that is still the same file. */
function openMapped(process: Process, mapping: ProcessMapping): BoundedFile | null {
  const linked = BoundedFile.open(`${process.folder.replace(/\/task\/\d+$/, '')}/map_files/${mapping.range}`, true);
  if (linked !== null) return linked;
  const named = mapping.path.startsWith('/') ? BoundedFile.open(`${process.root}${mapping.path}`) : null;
  if (named === null || Number(named.stat.ino) === mapping.inode) return named;
  named.close();
  return null;
}

function sameRoot(root: string): boolean {
  try {
    const [theirs, ours] = [statSync(root), statSync('/')];
    return readlinkSync(root) === '/' && theirs.ino === ours.ino && theirs.dev === ours.dev;
  } catch {
    return false;
  }
}
