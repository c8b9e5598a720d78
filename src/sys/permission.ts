import { effectiveCaps, hasCap } from './caps.ts';
import { isErrno } from './errno.ts';
import { kernelVersion, readText, versionCode } from './kernel-version.ts';
import type { Sys } from './sys.ts';

/** Why a permission was refused and what to do about it. */
export interface PermissionDiagnosis {
  /** A stable word: `capability`, `user-namespace`, `lockdown`, `seccomp`, `memlock`. */
  readonly reason: 'capability' | 'user-namespace' | 'lockdown' | 'seccomp' | 'memlock';
  readonly why: string;
  readonly next: string;
}

/** Calls that profiles of container runtimes refuse. */
export type GuardedCall = 'bpf' | 'perf_event_open';

/** What the diagnosis is made from; null where the system does not tell. */
export interface PermissionFacts {
  readonly uid: number;
  /** Effective capabilities, as a bit mask. */
  readonly caps: bigint | null;
  /** kernel.unprivileged_bpf_disabled: 0, 1 or 2. */
  readonly unprivilegedBpfDisabled: number | null;
  /** Whether this process is in the initial user namespace, as /proc/self/uid_map shows it. */
  readonly initialUserNamespace: boolean;
  readonly lockdown: 'none' | 'integrity' | 'confidentiality' | null;
  /** Seccomp of /proc/self/status: 0 none, 1 strict, 2 filter. */
  readonly seccomp: number | null;
  /** The call that its filter refuses, null where it lets the one through that was tried; absent where none was. */
  readonly forbidden?: GuardedCall | null;
  /** LINUX_VERSION_CODE form. */
  readonly kernel: number;
  /** RLIMIT_MEMLOCK in bytes, Infinity for unlimited; maps counted against it before 5.11. */
  readonly memlock: number | null;
}

function number(text: string | null | undefined): number | null {
  return text === null || text === undefined || text === '' ? null : Number(text);
}

/** Reads the facts that decide about BPF permissions from /proc and /sys. */
export function permissionFacts(): PermissionFacts {
  const status = readText('/proc/thread-self/status');
  const lockdown = /\[(none|integrity|confidentiality)\]/.exec(readText('/sys/kernel/security/lockdown') ?? '')?.[1];
  const memlock = /^Max locked memory\s+(\S+)/m.exec(readText('/proc/self/limits') ?? '')?.[1];
  const uidMap = readText('/proc/self/uid_map');
  return {
    uid: process.geteuid?.() ?? -1,
    caps: effectiveCaps(status),
    unprivilegedBpfDisabled: number(readText('/proc/sys/kernel/unprivileged_bpf_disabled')),
    initialUserNamespace: uidMap === null || /^\s*0\s+0\s+4294967295$/.test(uidMap),
    lockdown: (lockdown as PermissionFacts['lockdown'] | undefined) ?? null,
    seccomp: number(/^Seccomp:\s*(\d)$/m.exec(status ?? '')?.[1]),
    kernel: kernelVersion(),
    memlock: memlock === undefined ? null : memlock === 'unlimited' ? Infinity : Number(memlock),
  };
}

/** The most likely reason why the kernel refused BPF to a process like this, or null where nothing speaks against it. */
export function diagnosePermission(facts: PermissionFacts): PermissionDiagnosis | null {
  const has = (name: Parameters<typeof hasCap>[1]): boolean => facts.caps !== null && hasCap(facts.caps, name);
  const who = facts.uid === 0 ? 'this process is root but' : `this process (uid ${facts.uid}) is not root and`;
  const splitCaps = facts.kernel >= versionCode(5, 8);
  if (!has('CAP_SYS_ADMIN') && !(splitCaps && has('CAP_BPF'))) {
    const needed = splitCaps ? 'CAP_BPF' : 'CAP_SYS_ADMIN';
    const closed = facts.unprivilegedBpfDisabled ? `, and kernel.unprivileged_bpf_disabled is ${facts.unprivilegedBpfDisabled}` : '';
    return {
      reason: 'capability',
      why: `${who} lacks ${needed}${closed}`,
      next: `${facts.uid === 0 ? '' : 'run it as root, or '}give it ${
        splitCaps ? 'CAP_BPF and CAP_PERFMON (and CAP_NET_ADMIN for network programs)' : 'CAP_SYS_ADMIN, which kernels before 5.8 want'
      }`,
    };
  }
  if (!facts.initialUserNamespace) {
    return {
      reason: 'user-namespace',
      why: 'this process is in a user namespace, where its capabilities do not count for BPF',
      next: 'run it outside the user namespace (a rootless container has one), or hand it a BPF token',
    };
  }
  if (!has('CAP_SYS_ADMIN') && !has('CAP_PERFMON')) {
    return {
      reason: 'capability',
      why: `${who} lacks CAP_PERFMON, which tracing programs need besides CAP_BPF`,
      next: 'give it CAP_PERFMON too, or run it as root',
    };
  }
  if (facts.lockdown === 'integrity' || facts.lockdown === 'confidentiality') {
    return {
      reason: 'lockdown',
      why: `the kernel is locked down (${facts.lockdown}), which forbids programs to ${facts.lockdown === 'integrity' ? 'write user memory' : 'read kernel memory'}`,
      next: 'boot without lockdown= (or without Secure Boot), or do without the helpers that it forbids',
    };
  }
  if (facts.seccomp !== null && facts.seccomp !== 0 && facts.forbidden !== null) {
    const { forbidden } = facts;
    return {
      reason: 'seccomp',
      why: `a seccomp filter is active and ${forbidden === undefined ? 'may forbid bpf() or perf_event_open()' : `forbids ${forbidden}()`}`,
      next: 'allow these system calls in the container runtime (docker: --security-opt seccomp=unconfined or a profile with bpf and perf_event_open)',
    };
  }
  if (facts.kernel < versionCode(5, 11) && facts.memlock !== null && facts.memlock < 64 * 1024 * 1024) {
    return {
      reason: 'memlock',
      why: `maps count against RLIMIT_MEMLOCK on this kernel, which is ${facts.memlock} bytes`,
      next: 'raise it: ulimit -l unlimited',
    };
  }
  if (!has('CAP_SYS_ADMIN') && !has('CAP_NET_ADMIN')) {
    return {
      reason: 'capability',
      why: `${who} lacks CAP_NET_ADMIN, which network programs need besides CAP_BPF`,
      next: 'give it CAP_NET_ADMIN too, or run it as root',
    };
  }
  return null;
}

/** Says why the kernel probably refused BPF, or this call, to this process; null where nothing speaks against it. */
export function explainPermission(sys: Sys, call: GuardedCall = 'bpf'): PermissionDiagnosis | null {
  // A scripted backend has no kernel behind it whose files could explain anything.
  if (!sys.real) return null;
  const facts = permissionFacts();
  return diagnosePermission(facts.seccomp === 2 ? { ...facts, forbidden: isRefused(sys, call) ? call : null } : facts);
}

/** Whether a call is refused before the kernel looks at what it asks for, which is nonsense: by a filter, where no capability is missing. */
function isRefused(sys: Sys, call: GuardedCall): boolean {
  const result = call === 'bpf' ? sys.call('bpf', 0x7fffffff, null, 0) : sys.call('perf_event_open', null, 0, -1, -1, 0x7fffffff);
  return !isErrno(result, 'EINVAL') && !isErrno(result, 'EFAULT');
}
