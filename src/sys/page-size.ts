import { readFileSync } from 'node:fs';

const AT_PAGESZ = 6n;
let cached = 0;

/** The size of a page in bytes: 4096, on some arm64 kernels 16384 or 65536 (AT_PAGESZ of the auxiliary vector). */
export function pageSize(): number {
  if (cached === 0) cached = readPageSize();
  return cached;
}

function readPageSize(): number {
  try {
    return parsePageSize(readFileSync('/proc/self/auxv')) ?? 4096;
  } catch {
    // No /proc: the usual size.
    return 4096;
  }
}

/** The page size in an auxiliary vector (pairs of 64-bit words, include/uapi/linux/auxvec.h); null where it has none. */
export function parsePageSize(auxv: Uint8Array): number | null {
  const view = new DataView(auxv.buffer, auxv.byteOffset, auxv.byteLength);
  for (let at = 0; at + 16 <= auxv.length; at += 16) {
    if (view.getBigUint64(at, true) === AT_PAGESZ) return Number(view.getBigUint64(at + 8, true));
  }
  return null;
}
