import { existsSync, readdirSync, statSync } from 'node:fs';
import { AT, O, openFlags } from '../../../sys/constants.ts';
import { bpf } from '../../../sys/bpf.ts';
import { openAt } from '../../../sys/file.ts';
import { inNamespace, namespaceInode, openNamespace } from '../../../sys/namespaces.ts';
import { withFd } from '../../fd.ts';
import type { Kernel } from '../../kernel/kernel.ts';
import { openProgramById } from '../../program/open.ts';
import { BPF_ATTACH_TYPE } from '../../uapi/attach-type.gen.ts';
import { nameOf } from '../../uapi/names.ts';
import { deviceName } from '../device.ts';
import { RtNetlink } from '../rtnetlink.ts';
import { clsactDevices, markedFilters, removeFilter } from '../tc-filter.ts';
import { listTracefsProbes, removeTracefsProbe } from '../tracefs-probe.ts';
import { setXdp, xdpProgramId } from '../xdp.ts';
import { isAlive, type Owner } from './owner.ts';
import { readRecords, type Recorded, type RecordFile, removeRecord } from './record.ts';

/** Something of ours in the kernel that is no link: it does not go by itself when its process ends. */
export interface Unlinked {
  readonly kind: 'tc' | 'xdp' | 'cgroup' | 'lirc' | 'netns' | 'probe';
  /** What it is attached to, for people: `eth0 ingress`. */
  readonly target: string;
  /** 0 where the kernel does not tell. */
  readonly programId: number;
  readonly programName: string;
  readonly owner: Owner;
  /** Null where the owner counts in another PID namespace. */
  readonly alive: boolean | null;
}

interface Found extends Unlinked {
  /** Takes it away. */
  readonly remove: () => void;
}

/**
 * What rawbpf, in any process, has attached without a link: filters and actions of clsact in this network namespace, probes in
 * tracefs, and what is written down in /run/rawbpf (XDP through netlink, BPF_PROG_ATTACH).
 *
 * @example
 * import { defaultKernel, listUnlinked } from 'rawbpf';
 * export function orphans(): string[] {
 *   return listUnlinked(defaultKernel()).filter(({ alive }) => alive === false).map(({ kind, target }) => `${kind} ${target}`);
 * }
 */
export function listUnlinked(kernel: Kernel): Unlinked[] {
  return find(kernel).map(withoutRemove);
}

/** Takes away what {@link listUnlinked} lists and whose process is dead; returns it. */
export function sweepUnlinked(kernel: Kernel): Unlinked[] {
  const dead = find(kernel).filter(({ alive }) => alive === false);
  return dead.flatMap((found) => {
    const unlinked = withoutRemove(found);
    try {
      found.remove();
      return [unlinked];
    } catch (cause) {
      kernel.notice({ code: 'N_SWEEP', message: `${unlinked.kind} ${unlinked.target} of a dead process could not be taken away`, cause });
      return [];
    }
  });
}

function withoutRemove({ kind, target, programId, programName, owner, alive }: Found): Unlinked {
  return { kind, target, programId, programName, owner, alive };
}

function find(kernel: Kernel): Found[] {
  return [findFilters, findProbes, findRecorded].flatMap((look) => {
    try {
      return look(kernel);
    } catch (cause) {
      // Without netlink or tracefs there is nothing of that kind to be found, and no reason to stop.
      kernel.notice({ code: 'N_UNLINKED', message: 'what is attached without a link could not all be found', cause });
      return [];
    }
  });
}

function findFilters(kernel: Kernel): Found[] {
  const { sys } = kernel;
  const netlink = new RtNetlink(sys);
  try {
    return clsactDevices(netlink).flatMap((ifindex) =>
      markedFilters(netlink, ifindex).map((filter) => ({
        kind: 'tc' as const,
        target: `${deviceName(sys, ifindex)} ${filter.direction}`,
        programId: filter.programId,
        programName: filter.programName,
        owner: filter.owner,
        alive: isAlive(filter.owner),
        remove: () => withNetlink(kernel, (own) => removeFilter(own, filter)),
      })),
    );
  } finally {
    netlink.close();
  }
}

function withNetlink<T>(kernel: Kernel, use: (netlink: RtNetlink) => T): T {
  const netlink = new RtNetlink(kernel.sys);
  try {
    return use(netlink);
  } finally {
    netlink.close();
  }
}

function findProbes(kernel: Kernel): Found[] {
  return listTracefsProbes(kernel).map((probe) => ({
    kind: 'probe' as const,
    target: probe.place,
    programId: 0,
    programName: probe.event,
    owner: probe.owner,
    alive: isAlive(probe.owner),
    remove: () => removeTracefsProbe(kernel, probe),
  }));
}

function findRecorded(kernel: Kernel): Found[] {
  return readRecords().map((file) => {
    const { record, owner } = file;
    const more = record.kind === 'xdp' ? '' : ` ${nameOf(BPF_ATTACH_TYPE, record.attachType) ?? record.attachType}`;
    return {
      kind: record.kind,
      target: `${record.target}${more}`,
      programId: record.programId,
      programName: record.programName,
      owner,
      alive: isAlive(owner),
      remove: () => removeRecorded(kernel, file),
    };
  });
}

/** Undoes what a record tells, where it is still so, and removes the record. */
function removeRecorded(kernel: Kernel, { path, record }: RecordFile): void {
  if (record.kind === 'xdp') inNetNamespace(kernel, record.netNamespace, () => removeXdp(kernel, record));
  else removeAttached(kernel, record);
  removeRecord(path);
}

function removeXdp(kernel: Kernel, { ifindex, programId, attachType }: Recorded): void {
  withNetlink(kernel, (netlink) => {
    if (xdpProgramId(netlink, ifindex) !== programId) return;
    const program = openProgramById(kernel, programId);
    if (program === null) return;
    const XDP_FLAGS_REPLACE = 16;
    setXdp(netlink, ifindex, -1, attachType | XDP_FLAGS_REPLACE, program.fd);
    program.close();
  });
}

/** BPF_PROG_DETACH names the program: where another one is in its place nothing happens. */
function removeAttached(kernel: Kernel, { kind, target, programId, attachType }: Recorded): void {
  const { sys } = kernel;
  const program = openProgramById(kernel, programId);
  if (program === null) return;
  const fd = openAt(sys, AT.AT_FDCWD, target, O.O_RDONLY | (kind === 'cgroup' ? openFlags(sys.arch).O_DIRECTORY : 0));
  if (fd >= 0) {
    withFd(sys, fd, () => bpf(sys, 'BPF_PROG_DETACH', { target_fd: fd, attach_bpf_fd: program.fd, attach_type: attachType }));
  }
  program.close();
}

/** Runs `work` in a network namespace, found by a process that is in it; where there is none, its devices are gone too. */
function inNetNamespace(kernel: Kernel, inode: number, work: () => void): void {
  if (inode === 0 || namespaceInode('self', 'net') === inode) return work();
  const pid = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .find((name) => namespaceInode(Number(name), 'net') === inode);
  const named = pid === undefined ? namedNamespace(inode) : null;
  if (pid === undefined && named === null) return;
  const { sys } = kernel;
  const fd = pid === undefined ? openAt(sys, AT.AT_FDCWD, named ?? '', O.O_RDONLY) : openNamespace(sys, Number(pid), 'net');
  if (fd >= 0) withFd(sys, fd, () => inNamespace(sys, fd, 'net', work));
}

/** One that `ip netns add` keeps without a process. */
function namedNamespace(inode: number): string | null {
  const folder = '/run/netns';
  if (!existsSync(folder)) return null;
  const found = readdirSync(folder).find((name) => statSync(`${folder}/${name}`, { throwIfNoEntry: false })?.ino === inode);
  return found === undefined ? null : `${folder}/${found}`;
}
