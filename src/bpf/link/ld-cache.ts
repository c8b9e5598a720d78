import { Cursor } from '../../bytes/cursor.ts';

/** A library that the dynamic linker knows. */
export interface CachedLibrary {
  /** Its name in programs: `libssl.so.3`. */
  readonly name: string;
  readonly path: string;
}

// glibc's sysdeps/generic/dl-cache.h.
const magic = 'glibc-ld.so.cache1.1';
const headerSize = 48;
const entrySize = 24;
/** FLAG_ELF_LIBC6, and with it the kind of machine. */
const flagsOf: Readonly<Record<string, number>> = { x64: 0x0303, arm64: 0x0a03 };

/**
 * The libraries of /etc/ld.so.cache for a kind of machine, in the order in which the dynamic linker prefers them. A cache of
 * another make (that of glibc before 2.2) and a damaged one give none.
 */
export function parseLdCache(bytes: Uint8Array, arch: string): readonly CachedLibrary[] {
  const start = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).indexOf(magic, 0, 'latin1');
  if (start < 0 || bytes.length < start + headerSize) return [];
  // Written in the byte order of the machine; the machines of the table are little-endian.
  const table = bytes.subarray(start);
  const cursor = new Cursor(table, { littleEndian: true, structure: 'ld.so.cache', code: 'E_LD_CACHE' });
  cursor.seek(magic.length);
  const count = cursor.u32();
  if (headerSize + count * entrySize > table.length) return [];
  const libraries: CachedLibrary[] = [];
  for (let i = 0; i < count; i++) {
    cursor.seek(headerSize + i * entrySize);
    const flags = cursor.u32();
    const name = textAt(table, cursor.u32());
    const path = textAt(table, cursor.u32());
    if (flags === flagsOf[arch] && name !== '' && path.startsWith('/')) libraries.push({ name, path });
  }
  return libraries;
}

function textAt(bytes: Uint8Array, offset: number): string {
  const end = bytes.indexOf(0, offset);
  return offset < bytes.length && end >= 0 ? new TextDecoder().decode(bytes.subarray(offset, end)) : '';
}
