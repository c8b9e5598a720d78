/** A range of a process's memory and what lies there. */
export interface ProcessMapping {
  readonly start: number;
  readonly end: number;
  /** Offset of `start` in the file. */
  readonly offset: number;
  /** Device and inode as /proc prints them, `08:01:1234`; two mappings of one file agree. */
  readonly file: string;
  readonly inode: number;
  /** A path as the process sees it, `[vdso]` and the like, or nothing. */
  readonly path: string;
  /** `START-END` as its link in /proc/PID/map_files is called. */
  readonly range: string;
}

/** A process with more mappings is not looked at further. */
const maxMappings = 65_536;

/** Parses /proc/PID/maps: what can be executed, in ascending order. Source: proc_pid_maps(5). */
export function parseMaps(text: string): readonly ProcessMapping[] {
  const mappings: ProcessMapping[] = [];
  for (const line of text.split('\n')) {
    // 7f2c4000-7f2c5000 r-xp 00026000 fe:01 1837 /usr/lib/x86_64-linux-gnu/libc.so.6
    const match = /^([0-9a-f]+)-([0-9a-f]+) ..x. ([0-9a-f]+) ([0-9a-f]+:[0-9a-f]+) (\d+) *(.*)$/.exec(line);
    if (match === null || mappings.length >= maxMappings) continue;
    const [, first = '', last = '', offset = '', device = '', inode = '', path = ''] = match;
    const [start, end] = [Number.parseInt(first, 16), Number.parseInt(last, 16)];
    if (!Number.isSafeInteger(end)) continue;
    mappings.push({
      start,
      end,
      offset: Number.parseInt(offset, 16),
      file: `${device}:${inode}`,
      inode: Number(inode),
      path,
      range: `${first.replace(/^0+(?=.)/, '')}-${last.replace(/^0+(?=.)/, '')}`,
    });
  }
  return mappings;
}

/** The mapping that an address lies in; null where none does. */
export function mappingAt(mappings: readonly ProcessMapping[], address: number): ProcessMapping | null {
  let low = 0;
  let high = mappings.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((mappings[middle] as ProcessMapping).start <= address) low = middle + 1;
    else high = middle;
  }
  const mapping = mappings[low - 1];
  return mapping !== undefined && address < mapping.end ? mapping : null;
}
