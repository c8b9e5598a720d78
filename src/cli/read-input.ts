import { readdirSync, readFileSync, statSync } from 'node:fs';
import { Btf } from '../btf/btf.ts';
import { btfFromElf } from '../btf/from-elf.ts';
import { parseElf } from '../elf/index.ts';
import { FormatError, RawbpfError, UnsupportedError } from '../error.ts';

/** Reads a whole file. @throws RawbpfError E_FILE with the path and the reason */
export function readFile(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (cause) {
    throw fileError('read', file, cause);
  }
}

/** The names in a folder. @throws RawbpfError E_FILE with the path and the reason */
export function readFolder(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (cause) {
    throw fileError('read', folder, cause);
  }
}

/** Whether a path leads to a file and not to a folder or device. @throws RawbpfError E_FILE where it leads nowhere */
export function isFile(file: string): boolean {
  try {
    return statSync(file).isFile();
  } catch (cause) {
    throw fileError('read', file, cause);
  }
}

const reasons: ReadonlyMap<string, string> = new Map([
  ['ENOENT', 'there is no such file'],
  ['EACCES', 'permission denied'],
  ['EISDIR', 'it is a folder'],
  ['ENOTDIR', 'it is no folder'],
  ['ELOOP', 'its links lead round in a circle'],
  ['ENOSPC', 'no space is left there'],
]);

/** What to throw where a file cannot be read or written. */
export function fileError(action: 'read' | 'write', file: string, cause: unknown): RawbpfError {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  const missingFolder = action === 'write' && code === 'ENOENT';
  const reason = missingFolder ? 'there is no such folder' : reasons.get(code);
  const why = reason ?? (cause instanceof Error ? cause.message : String(cause));
  return new RawbpfError({ code: 'E_FILE', what: `cannot ${action} ${file}`, why, cause });
}

/** Makes something of a file's bytes; what is malformed in them, or not taken, is told with the file's name. */
export function parseFile<T>(file: string, parse: (bytes: Uint8Array) => T): T {
  const bytes = readFile(file);
  try {
    return parse(bytes);
  } catch (cause) {
    if (!(cause instanceof FormatError || cause instanceof UnsupportedError) || 'file' in cause.where) throw cause;
    const { code, what, where, why, next } = cause;
    const Kind = cause instanceof FormatError ? FormatError : UnsupportedError;
    throw new Kind({
      code,
      what,
      where: { file, ...where },
      cause,
      ...(why === null ? {} : { why }),
      ...(next === null ? {} : { next }),
    });
  }
}

/** Reads BTF from a raw file, or from the .BTF section of an ELF file. */
export function readBtf(file: string, base: Btf | null): Btf {
  const btf = parseFile(file, (bytes) => {
    const isElf = bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;
    if (!isElf) return Btf.parse(bytes, { name: file, ...(base === null ? {} : { base }) });
    return btfFromElf(parseElf(bytes), base === null ? {} : { base });
  });
  if (btf === null)
    throw new RawbpfError({
      code: 'E_BTF_MISSING',
      what: `${file} has no BTF`,
      why: 'there is no .BTF section',
      next: 'compile it with -g',
    });
  return btf;
}
