import { readFileSync } from 'node:fs';
import { didYouMean } from '../../bytes/suggest.ts';
import { cString, toUtf8 } from '../../bytes/text.ts';
import { UsageError } from '../../error.ts';
import { check } from '../../sys/errno.ts';
import type { Sys } from '../../sys/sys.ts';
import { withFd } from '../fd.ts';

/** A network device: its name, or its index in this process's network namespace. */
export type Device = string | number;

const AF_INET = 2;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const SIOCGIFINDEX = 0x8933;
const SIOCGIFNAME = 0x8910;
/** sizeof(struct ifreq), and its name's room with the NUL. */
const ifreqSize = 40;
const IFNAMSIZ = 16;

/** The index of a device; throws E_DEVICE with suggestions where there is none of this name or index. */
export function deviceIndex(sys: Sys, device: Device): number {
  if (typeof device === 'number') {
    if (nameOfIndex(sys, device) === null) throw noDevice(device);
    return device;
  }
  const name = toUtf8(device);
  if (name.length >= 1 && name.length < IFNAMSIZ) {
    // By socket, not by /sys/class/net: that one shows the namespace it was mounted in.
    const socket = check(sys.call('socket', AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), 'socket');
    const request = new Uint8Array(ifreqSize);
    request.set(name);
    const found = withFd(sys, socket, () => sys.call('ioctl', socket, SIOCGIFINDEX, request) >= 0);
    if (found) return new DataView(request.buffer).getInt32(IFNAMSIZ, true);
  }
  throw noDevice(device);
}

function noDevice(device: Device): UsageError {
  const names = deviceNames();
  const meant = typeof device === 'string' ? didYouMean(device, names) : '';
  const few = names.slice(0, 8).join(', ');
  const next = meant !== '' ? meant : names.length === 0 ? 'this network namespace has none' : `give one of this network namespace: ${few}`;
  return new UsageError({ code: 'E_DEVICE', what: 'no such network device', where: { device }, next });
}

function deviceNames(): string[] {
  try {
    return Array.from(readFileSync('/proc/thread-self/net/dev', 'utf8').matchAll(/^\s*(\S+):/gm), (match) => match[1] as string);
  } catch {
    return [];
  }
}

/** The name of a device by its index in this thread's network namespace; `device N` where it cannot be told. */
export function deviceName(sys: Sys, ifindex: number): string {
  return nameOfIndex(sys, ifindex) ?? `device ${ifindex}`;
}

/** Null where no device has this index. */
function nameOfIndex(sys: Sys, ifindex: number): string | null {
  const socket = sys.call('socket', AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return null;
  const request = new Uint8Array(ifreqSize);
  new DataView(request.buffer).setInt32(IFNAMSIZ, ifindex, true);
  const found = withFd(sys, socket, () => sys.call('ioctl', socket, SIOCGIFNAME, request) >= 0);
  return found ? cString(request.subarray(0, IFNAMSIZ)) : null;
}
