import { readFileSync } from 'node:fs';

const AT_PAGESZ = 6;
let cached = 0;

/** The size of a page in bytes: 4096, on some arm64 kernels 16384 or 65536 (AT_PAGESZ of the auxiliary vector). */
export function pageSize(): number {
  if (cached === 0) cached = readPageSize();
  return cached;
}

function readPageSize(): number {
  try {
    const auxv = readFileSync('/proc/self/auxv');
    for (let at = 0; at + 16 <= auxv.length; at += 16) {
      if (auxv.readBigUInt64LE(at) === BigInt(AT_PAGESZ)) return Number(auxv.readBigUInt64LE(at + 8));
    }
  } catch {
    // No /proc: the usual size.
  }
  return 4096;
}
