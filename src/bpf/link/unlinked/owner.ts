import { readFileSync, statSync } from 'node:fs';

/** A process that holds an attachment, told apart from a later one of the same number. */
export interface Owner {
  readonly pid: number;
  /** When it was started, clock ticks after boot (field 22 of proc_pid_stat(5)). */
  readonly startTime: string;
  /** First 8 digits of /proc/sys/kernel/random/boot_id. */
  readonly boot: string;
  /** Inode of the PID namespace that counts it so. */
  readonly pidNamespace: number;
}

let own: Owner | null = null;

/** This process. */
export function thisOwner(): Owner {
  own ??= { pid: process.pid, startTime: startTimeOf(process.pid) ?? '0', boot: bootId(), pidNamespace: pidNamespace() };
  return own;
}

/** Whether an owner lives; null where that cannot be told, for it is of another PID namespace. */
export function isAlive(owner: Owner): boolean | null {
  const here = thisOwner();
  if (owner.boot !== here.boot) return false;
  if (owner.pidNamespace !== here.pidNamespace) return null;
  return startTimeOf(owner.pid) === owner.startTime;
}

/** An owner as text of letters, digits and underscores: it becomes part of names in the kernel. */
export function ownerText({ pid, startTime, boot, pidNamespace: namespace }: Owner): string {
  return `rawbpf_${pid}_${startTime}_${boot}_${namespace}`;
}

const pattern = /rawbpf_(\d+)_(\d+)_([0-9a-f]{8})_(\d+)/;

/** The owner that a text names; null where it names none. */
export function parseOwner(text: string): Owner | null {
  const match = pattern.exec(text);
  if (match === null) return null;
  const [, pid, startTime, boot, namespace] = match as unknown as [string, string, string, string, string];
  return { pid: Number(pid), startTime, boot, pidNamespace: Number(namespace) };
}

function startTimeOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name in parentheses may hold anything; fields are counted from behind it.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A zombie holds nothing any more.
    return fields[0] === 'Z' || fields[0] === 'X' ? null : (fields[19] ?? null);
  } catch {
    return null;
  }
}

function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').slice(0, 8);
  } catch {
    return '00000000';
  }
}

function pidNamespace(): number {
  try {
    return statSync('/proc/self/ns/pid').ino;
  } catch {
    return 0;
  }
}
