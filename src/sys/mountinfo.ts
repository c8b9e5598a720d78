/** One line of /proc/PID/mountinfo. */
export interface MountEntry {
  /** The directory of the file system that is mounted: `/` for the whole of it. */
  readonly root: string;
  readonly mountPoint: string;
  readonly type: string;
  /** Options of the file system, not of this mount: of cgroup v1 the controllers. */
  readonly superOptions: readonly string[];
}

/** Parses /proc/PID/mountinfo (Documentation/filesystems/proc.rst, section 3.5). */
export function parseMountinfo(text: string): MountEntry[] {
  const entries: MountEntry[] = [];
  for (const line of text.split('\n')) {
    const fields = line.split(' ');
    const dash = fields.indexOf('-', 6);
    const [, , , root, mountPoint] = fields;
    const type = fields[dash + 1];
    if (dash < 0 || root === undefined || mountPoint === undefined || type === undefined) continue;
    entries.push({
      root: unescapeOctal(root),
      mountPoint: unescapeOctal(mountPoint),
      type,
      superOptions: (fields[dash + 3] ?? '').split(','),
    });
  }
  return entries;
}

function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
