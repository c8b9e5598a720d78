import { mkdirSync, statfsSync, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { toCString } from '../bytes/text.ts';
import { UsageError } from '../error.ts';
import { bpf, bpfError } from '../sys/bpf.ts';
import { isErrno } from '../sys/errno.ts';
import type { Kernel } from './kernel/kernel.ts';

/** statfs(2)'s f_type of a BPF file system (BPF_FS_MAGIC). */
const BPF_FS_MAGIC = 0xcafe4a11;

/**
 * Pins a map, program or link under a path, making missing folders; the path has to lie in a BPF file system.
 * Throws E_NOT_BPFFS where it does not, SyscallError (EEXIST) where something is there.
 */
export function pinObject(kernel: Kernel, fd: number, path: string): void {
  checkPath(path);
  const folder = dirname(path);
  if (isBpffs(nearestFolder(folder))) mkdirSync(folder, { recursive: true, mode: 0o700 });
  const result = bpf(kernel.sys, 'BPF_OBJ_PIN', { pathname: toCString(path), bpf_fd: fd });
  if (result >= 0) return;
  if (!isBpffs(folder)) throw notBpffs(path);
  throw bpfError(kernel.sys, 'BPF_OBJ_PIN', result, { what: 'cannot pin', where: { path } });
}

/** Opens what is pinned under a path; returns the descriptor, or null where nothing is there. */
export function openPin(kernel: Kernel, path: string, fileFlags = 0): number | null {
  checkPath(path);
  const result = bpf(kernel.sys, 'BPF_OBJ_GET', { pathname: toCString(path), file_flags: fileFlags });
  if (isErrno(result, 'ENOENT')) return null;
  if (result < 0) throw bpfError(kernel.sys, 'BPF_OBJ_GET', result, { what: 'cannot open what is pinned', where: { path } });
  return result;
}

/** Removes a pin; false where there was none. */
export function unpin(path: string): boolean {
  checkPath(path);
  try {
    unlinkSync(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

/** Whether a folder lies in a BPF file system. */
export function isBpffs(folder: string): boolean {
  try {
    return statfsSync(folder).type === BPF_FS_MAGIC;
  } catch {
    return false;
  }
}

function nearestFolder(path: string): string {
  let folder = path;
  for (;;) {
    try {
      statfsSync(folder);
      return folder;
    } catch {
      if (dirname(folder) === folder) return folder;
      folder = dirname(folder);
    }
  }
}

function checkPath(path: string): void {
  if (path === '' || path.includes('\0')) throw new UsageError({ code: 'E_PIN_PATH', what: 'not a path to pin under', where: { path } });
}

function notBpffs(path: string): UsageError {
  return new UsageError({
    code: 'E_NOT_BPFFS',
    what: 'a pin has to lie in a BPF file system',
    where: { path },
    why: `${dirname(path)} is in none`,
    next: 'mount one: mount -t bpf bpf /sys/fs/bpf',
  });
}
