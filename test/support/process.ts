import { readFileSync, readlinkSync } from 'node:fs';
import { threadId } from 'node:worker_threads';
import type { Test } from 'tap';
import { runProgram, type Ended } from './calls.ts';
import type { JsonEvent } from './run-gadget.ts';

// Perl has no call of this name; its number is of the machine (include/uapi/asm-generic/unistd.h, x86's own table).
process.env['UNSHARE'] = process.arch === 'arm64' ? '97' : '272';

/** Runs a Perl program, which can make any system call by its number; every Debian has the core of Perl. */
export function runPerl(script: string, ...args: readonly string[]): Promise<Ended> {
  return runProgram('/usr/bin/perl', ['-e', `use strict; $| = 1; ${script}`, '--', ...args]);
}

/** What /proc and the test itself know of the process that an event tells of. */
export interface ExpectedProcess {
  readonly pid: number;
  /** The same as pid unless given. */
  readonly tid?: number;
  readonly comm: string;
  readonly uid?: number;
  readonly gid?: number;
  /** This process unless given. */
  readonly parent?: { readonly pid: number; readonly comm: string };
  /** Inode number of the mount namespace; that of this process unless given. */
  readonly mntns?: number;
}

/** The inode number of a namespace of a process, as /proc shows it. */
export function namespaceOf(kind: 'mnt' | 'net' | 'user', pid: number | 'self' = 'self'): number {
  return Number(/\[(\d+)\]/.exec(readlinkSync(`/proc/${pid}/ns/${kind}`))?.[1]);
}

/** The name of a process, as /proc shows it. */
export function commOf(pid: number | 'self'): string {
  return readFileSync(`/proc/${pid}/comm`, 'utf8').trimEnd();
}

/** What /etc/passwd or /etc/group calls an id; the id itself where it is not there. */
function idName(file: 'passwd' | 'group', id: number): string {
  const line = readFileSync(`/etc/${file}`, 'utf8')
    .split('\n')
    .find((each) => each.split(':')[2] === String(id));
  return line?.split(':')[0] ?? `${file === 'passwd' ? 'uid' : 'gid'}:${id}`;
}

/** What /etc/passwd and /etc/group call a user and a group. */
export function namesOf(uid: number, gid: number): { readonly user: string; readonly group: string } {
  return { user: idName('passwd', uid), group: idName('group', gid) };
}

/** Compares every field of a `struct gadget_process`. */
export function expectProcess(t: Test, proc: JsonEvent['proc'] | undefined, expected: ExpectedProcess, what: string): void {
  const { pid, tid = pid, comm, uid = 0, gid = 0, mntns = namespaceOf('mnt') } = expected;
  const parent = expected.parent ?? { pid: process.pid, comm: commOf('self') };
  t.match(
    proc,
    { pid, tid, comm, mntns_id: mntns, creds: { uid, gid }, parent: { pid: parent.pid, comm: parent.comm } },
    `${what}: process`,
  );
  t.match(proc?.creds, namesOf(uid, gid), `${what}: names of user and group`);
  if (parent.pid !== process.pid || threadId !== 0) return;
  t.equal(proc?.parent.tid, process.pid, `${what}: the thread that forked`);
}

/** Compares the time of an event with the clock before and after what it tells of. */
export function expectTime(t: Test, event: JsonEvent | undefined, { from, to }: { from: number; to: number }, what: string): void {
  const time = Number(event?.['timestamp_raw']) / 1e6;
  t.ok(time >= from - 1 && time <= to + 1, `${what}: time`);
  t.equal(Math.floor(Date.parse(String(event?.['timestamp'])) / 1000), Math.floor(time / 1000), `${what}: time as text`);
}
