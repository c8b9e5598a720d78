import { readFileSync } from 'node:fs';
import { Btf } from '../btf/btf.ts';
import { btfFromElf } from '../btf/from-elf.ts';
import { parseElf } from '../elf/index.ts';
import { RawbpfError } from '../error.ts';

/** Reads a whole file. @throws RawbpfError E_FILE with the path and the reason */
export function readFile(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (cause) {
    const reason = cause instanceof Error && 'code' in cause ? reasons.get(String(cause.code)) : undefined;
    throw new RawbpfError({ code: 'E_FILE', what: `cannot read ${file}`, why: reason ?? String(cause), cause });
  }
}

const reasons: ReadonlyMap<string, string> = new Map([
  ['ENOENT', 'there is no such file'],
  ['EACCES', 'permission denied'],
  ['EISDIR', 'it is a folder'],
]);

/** Reads BTF from a raw file, or from the .BTF section of an ELF file. */
export function readBtf(file: string, base: Btf | null): Btf {
  const bytes = readFile(file);
  const isElf = bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;
  if (!isElf) return Btf.parse(bytes, { name: file, ...(base === null ? {} : { base }) });
  const btf = btfFromElf(parseElf(bytes), base === null ? {} : { base });
  if (btf === null)
    throw new RawbpfError({
      code: 'E_BTF_MISSING',
      what: `${file} has no BTF`,
      why: 'there is no .BTF section',
      next: 'compile it with -g',
    });
  return btf;
}
