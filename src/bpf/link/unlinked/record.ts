import { mkdirSync, readdirSync, readFileSync, renameSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { type Owner, ownerText, parseOwner, thisOwner } from './owner.ts';

/** An attachment for which the kernel has no link and no name of our choice, written down in a file. */
export interface Recorded {
  readonly kind: 'xdp' | 'cgroup' | 'lirc' | 'netns';
  /** A device's name, a cgroup's directory, a lirc device. */
  readonly target: string;
  readonly programId: number;
  readonly programName: string;
  /** BPF_* attach type; of XDP the XDP_FLAGS_* of its mode. */
  readonly attachType: number;
  /** Inode of the network namespace, and the device's index there; 0 where neither matters. */
  readonly netNamespace: number;
  readonly ifindex: number;
}

/** A file with one record, and who wrote it. */
export interface RecordFile {
  readonly path: string;
  readonly owner: Owner;
  readonly record: Recorded;
}

const kinds: ReadonlySet<unknown> = new Set(['xdp', 'cgroup', 'lirc', 'netns']);
let counter = 0;

/** Where records are: emptied at boot, as the attachments are. */
export const recordFolder = (): string => process.env['RAWBPF_STATE_DIR'] ?? '/run/rawbpf';

/** Writes a record; returns what removes it. Where the folder cannot be written to, nothing is recorded: null. */
export function writeRecord(record: Recorded): (() => void) | null {
  const folder = recordFolder();
  const path = `${folder}/${ownerText(thisOwner())}.${counter++}.json`;
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    // Whole or not at all: another process may be reading.
    writeFileSync(`${path}.new`, JSON.stringify(record), { mode: 0o600, flag: 'wx' });
    renameSync(`${path}.new`, path);
    return () => removeRecord(path);
  } catch {
    return null;
  }
}

export function removeRecord(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Somebody swept it.
  }
}

/** All records of root's; others' files and what cannot be understood are left alone. */
export function readRecords(): RecordFile[] {
  const folder = recordFolder();
  let names: string[];
  try {
    // A folder that others can write to tells nothing.
    const { uid, mode } = statSync(folder);
    if (uid !== process.getuid?.() || (mode & 0o022) !== 0) return [];
    names = readdirSync(folder);
  } catch {
    return [];
  }
  return names.flatMap((name) => {
    const owner = name.endsWith('.json') ? parseOwner(name) : null;
    const record = owner === null ? null : readRecord(`${folder}/${name}`);
    return owner === null || record === null ? [] : [{ path: `${folder}/${name}`, owner, record }];
  });
}

function readRecord(path: string): Recorded | null {
  try {
    const parsed: Record<string, unknown> = JSON.parse(readFileSync(path, 'utf8'));
    const numbers = ['programId', 'attachType', 'netNamespace', 'ifindex'].every((field) => Number.isSafeInteger(parsed[field]));
    const texts = ['target', 'programName'].every((field) => typeof parsed[field] === 'string');
    return kinds.has(parsed['kind']) && numbers && texts ? (parsed as unknown as Recorded) : null;
  } catch {
    return null;
  }
}
