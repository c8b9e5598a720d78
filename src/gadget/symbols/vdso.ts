import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { type Binary, readBinary } from './binary.ts';

/** The code that the kernel maps into every process: read out of this one, for it is the same in all of its kind. */
export function readVdso(): Binary | null {
  try {
    const line = /^([0-9a-f]+)-([0-9a-f]+) .*\[vdso\]$/m.exec(readFileSync('/proc/self/maps', 'latin1'));
    if (line === null) return null;
    const start = Number.parseInt(line[1] ?? '', 16);
    const image = Buffer.alloc(Math.min(Number.parseInt(line[2] ?? '', 16) - start, 1 << 20));
    const fd = openSync('/proc/self/mem', 'r');
    try {
      readSync(fd, image, 0, image.length, start);
    } finally {
      closeSync(fd);
    }
    return readBinary(
      (offset, length) => image.subarray(offset, offset + length),
      () => null,
    );
  } catch {
    return null;
  }
}
