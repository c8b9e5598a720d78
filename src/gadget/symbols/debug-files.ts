import path from 'node:path';
import { crc32 } from 'node:zlib';
import { outlineElf } from '../../elf/outline.ts';
import { buildIdOf, type DebugLink } from './binary.ts';
import { BoundedFile } from '../../sys/bounded-file.ts';

/** Where distributions put debug files. */
const debugFolder = '/usr/lib/debug';
const crcChunk = 1 << 20;
/** Larger debug files are not checked by CRC: it takes a second for each GB. */
const maxCrcSize = 1n << 30n;

/**
 * Finds the debug file of a binary at `file`, in the process's file system and then in ours: by build id, and by
 * .gnu_debuglink beside the binary, in `.debug`, and below /usr/lib/debug. What is found is its own only if the build
 * ids, or without those the CRC, agree.
 */
export function findDebugFile(file: string, root: string, buildId: string | null, link: DebugLink | null): BoundedFile | null {
  const roots = root === '' ? [''] : [root, ''];
  if (buildId !== null && buildId.length > 2) {
    for (const top of roots) {
      const found = BoundedFile.open(`${top}${debugFolder}/.build-id/${buildId.slice(0, 2)}/${buildId.slice(2)}.debug`, true);
      if (found !== null && isOf(found, buildId, null)) return found;
      found?.close();
    }
  }
  if (link === null || !file.startsWith('/')) return null;
  const folder = path.posix.dirname(file);
  for (const top of roots) {
    for (const place of [folder, path.posix.join(folder, '.debug'), path.posix.join(debugFolder, folder)]) {
      const found = BoundedFile.open(`${top}${place}/${link.name}`, true);
      if (found !== null && isOf(found, buildId, link)) return found;
      found?.close();
    }
  }
  return null;
}

function isOf(file: BoundedFile, buildId: string | null, link: DebugLink | null): boolean {
  const read = (offset: number, length: number): Uint8Array => file.read(offset, length);
  if (buildId !== null) {
    try {
      const own = buildIdOf(outlineElf(read), read);
      if (own !== null) return own === buildId;
    } catch {
      return false;
    }
  }
  return link !== null && file.stat.size <= maxCrcSize && crcOf(file) === link.crc;
}

function crcOf(file: BoundedFile): number {
  let crc = 0;
  const size = Number(file.stat.size);
  for (let at = 0; at < size; at += crcChunk) crc = crc32(file.read(at, crcChunk), crc);
  return crc;
}
