import { closeSync, constants, fstatSync, openSync, readSync, type BigIntStats } from 'node:fs';

/** A file of somebody else's: only ever a regular file, read in bounded pieces, closed by whoever opened it. */
export class BoundedFile {
  readonly stat: BigIntStats;
  readonly #fd: number;

  private constructor(fd: number, stat: BigIntStats) {
    this.#fd = fd;
    this.stat = stat;
  }

  /** Null for what is not there, cannot be read, or is no regular file. A last component that is a link is not followed unless said. */
  static open(path: string, followLink = false): BoundedFile | null {
    let fd: number;
    try {
      // Opening a FIFO or a terminal must not wait or have effects.
      fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY | (followLink ? 0 : constants.O_NOFOLLOW));
    } catch {
      return null;
    }
    try {
      const stat = fstatSync(fd, { bigint: true });
      if (stat.isFile()) return new BoundedFile(fd, stat);
    } catch {
      // Told as "not there".
    }
    closeSync(fd);
    return null;
  }

  /** Bytes, fewer where the file ends before. */
  read(offset: number, length: number): Uint8Array {
    const there = Math.max(0, Math.min(length, Number(this.stat.size) - offset));
    const bytes = Buffer.allocUnsafeSlow(there);
    let used = 0;
    while (used < there) {
      const count = readSync(this.#fd, bytes, used, there - used, offset + used);
      if (count === 0) break;
      used += count;
    }
    return bytes.subarray(0, used);
  }

  close(): void {
    closeSync(this.#fd);
  }
}
