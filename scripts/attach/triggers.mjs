// Makes happen what programs wait for: system calls, sockets of every family, packets. All through raw system calls of this
// thread, which is in a network namespace of its own.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const AF_NETLINK = 16;
const AF_PACKET = 17;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_RAW = 3;
const SOL_SOCKET = 1;
const SO_REUSEPORT = 15;
const SO_RCVTIMEO = 20;
const IPPROTO_TCP = 6;
const TCP_CONGESTION = 13;
const SIOCSIFFLAGS = 0x8914;
const IFF_UP = 1;

export class Triggers {
  /** @param sys the library's seam to the kernel */
  constructor(sys) {
    this.sys = sys;
  }

  call(name, ...args) {
    const result = this.sys.call(name, ...args);
    if (result < 0) throw new Error(`${name}: errno ${-result}`);
    return result;
  }

  /** System calls that the kernel's probes and tracepoints wait for. */
  systemCalls() {
    for (let i = 0; i < 3; i++) this.call('getpgid', process.pid);
    readFileSync('/dev/null');
  }

  /** A function of libc. */
  libraryCalls() {
    for (let i = 0; i < 3; i++) if (process.ppid < 0) throw new Error('no parent');
  }

  exec() {
    this.run('/bin/true');
  }

  run(program) {
    spawnSync(program);
  }

  /** Time on the processor. */
  work(ms) {
    const until = Date.now() + ms;
    while (Date.now() < until) for (let i = 0; i < 1e5; i++) Math.sqrt(i);
  }

  socket(family, type, protocol = 0) {
    const fd = this.call('socket', family, type, protocol);
    const twoSeconds = new Uint8Array(16);
    twoSeconds[0] = 2;
    this.call('setsockopt', fd, SOL_SOCKET, SO_RCVTIMEO, twoSeconds, 16);
    return fd;
  }

  close(...fds) {
    for (const fd of fds) this.sys.call('close', fd);
  }

  /** Every call that a cgroup has a hook for, over IPv4, IPv6 and Unix sockets. */
  socketTour() {
    for (const family of [AF_INET, AF_INET6, AF_UNIX]) {
      this.datagrams(family);
      if (family !== AF_UNIX) this.close(...this.tcpPair(family));
      else this.unixStream();
    }
    readFileSync('/proc/sys/kernel/ostype');
    readFileSync('/dev/null');
  }

  datagrams(family) {
    const receiver = this.socket(family, SOCK_DGRAM);
    this.call('bind', receiver, ...sized(address(family, 0, 'receiver')));
    const to = this.name('getsockname', receiver);
    const sender = this.socket(family, SOCK_DGRAM);
    if (family === AF_UNIX) this.call('bind', sender, ...sized(address(family, 0, 'sender')));
    const bytes = new Uint8Array([1, 2, 3, 4]);
    this.call('sendto', sender, bytes, 4, 0, ...sized(to));
    this.call('recvfrom', receiver, new Uint8Array(8), 8, 0, new Uint8Array(128), new Uint8Array([128, 0, 0, 0]));
    this.call('connect', sender, ...sized(to));
    this.name('getpeername', sender);
    const length = new Uint8Array([4, 0, 0, 0]);
    this.call('getsockopt', sender, SOL_SOCKET, SO_REUSEPORT, new Uint8Array(4), length);
    this.close(sender, receiver);
  }

  unixStream() {
    const listener = this.socket(AF_UNIX, SOCK_STREAM);
    this.call('bind', listener, ...sized(address(AF_UNIX, 0, 'listener')));
    this.call('listen', listener, 1);
    const client = this.socket(AF_UNIX, SOCK_STREAM);
    this.call('connect', client, ...sized(this.name('getsockname', listener)));
    this.close(client, listener);
  }

  /** Two connected TCP sockets. */
  tcpPair(family = AF_INET, congestion = null) {
    const listener = this.socket(family, SOCK_STREAM);
    this.call('bind', listener, ...sized(address(family, 0, '')));
    this.call('listen', listener, 1);
    const client = this.socket(family, SOCK_STREAM);
    if (congestion !== null) this.call('setsockopt', client, IPPROTO_TCP, TCP_CONGESTION, ...sized(Buffer.from(congestion)));
    this.call('connect', client, ...sized(this.name('getsockname', listener)));
    const server = this.call('accept4', listener, new Uint8Array(128), new Uint8Array([128, 0, 0, 0]), 0);
    this.name('getpeername', client);
    this.close(listener);
    return [client, server];
  }

  /** Sends over a connection and reads at its other end what came within two seconds. */
  transfer(from, to, size = 4096, rounds = 1) {
    const bytes = new Uint8Array(size);
    for (let i = 0; i < rounds; i++) {
      this.call('sendto', from, bytes, size, 0, null, 0);
      const twoSeconds = new Uint8Array(16);
      twoSeconds[0] = 2;
      this.sys.call('setsockopt', to, SOL_SOCKET, SO_RCVTIMEO, twoSeconds, 16);
      this.sys.call('recvfrom', to, new Uint8Array(size), size, 0, null, null);
    }
  }

  name(call, fd) {
    const bytes = new Uint8Array(128);
    const length = new Uint8Array([128, 0, 0, 0]);
    this.call(call, fd, bytes, length);
    return bytes.slice(0, length[0]);
  }

  /** A packet socket's send: the kernel asks the flow dissector where its headers are. */
  rawPacket(device) {
    const fd = this.call('socket', AF_PACKET, SOCK_RAW, 0);
    const frame = new Uint8Array(60);
    frame.set([8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1, 0, 9, 0, 9, 0, 26], 12);
    const to = new Uint8Array(20);
    const view = new DataView(to.buffer);
    view.setUint16(0, AF_PACKET, true);
    view.setUint16(2, 0x0800, false);
    view.setInt32(4, device, true);
    to[11] = 6;
    const sent = this.sys.call('sendto', fd, frame, frame.length, 0, to, 20);
    this.close(fd);
    return sent;
  }

  /** Two UDP sockets that share a port, one datagram for them; `use` gets the first before that. */
  reuseport(use) {
    const on = new Uint8Array([1, 0, 0, 0]);
    const first = this.socket(AF_INET, SOCK_DGRAM);
    const second = this.socket(AF_INET, SOCK_DGRAM);
    const sender = this.socket(AF_INET, SOCK_DGRAM);
    try {
      for (const fd of [first, second]) this.call('setsockopt', fd, SOL_SOCKET, SO_REUSEPORT, on, 4);
      this.call('bind', first, ...sized(address(AF_INET, 0, '')));
      const to = this.name('getsockname', first);
      this.call('bind', second, ...sized(to));
      use(first);
      this.call('sendto', sender, on, 4, 0, ...sized(to));
    } finally {
      this.close(first, second, sender);
    }
  }

  up(device) {
    const fd = this.call('socket', AF_INET, SOCK_DGRAM, 0);
    const request = new Uint8Array(40);
    request.set(Buffer.from(device));
    new DataView(request.buffer).setUint16(16, IFF_UP, true);
    this.call('ioctl', fd, SIOCSIFFLAGS, request);
    this.close(fd);
  }

  /** Makes a pair of netkit devices over netlink: RTM_NEWLINK with IFLA_IFNAME and IFLA_LINKINFO. */
  netkit(name) {
    const attribute = (type, content) => {
      const bytes = new Uint8Array((4 + content.length + 3) & ~3);
      const view = new DataView(bytes.buffer);
      view.setUint16(0, 4 + content.length, true);
      view.setUint16(2, type, true);
      bytes.set(content, 4);
      return bytes;
    };
    const attributes = Buffer.concat([attribute(3, Buffer.from(`${name}\0`)), attribute(18, attribute(1, Buffer.from('netkit\0')))]);
    const message = new Uint8Array(32 + attributes.length);
    const view = new DataView(message.buffer);
    view.setUint32(0, message.length, true);
    view.setUint16(4, 16, true);
    view.setUint16(6, 0x605, true);
    message.set(attributes, 32);
    const fd = this.socket(AF_NETLINK, SOCK_RAW);
    try {
      this.call('sendto', fd, message, message.length, 0, null, 0);
      const answer = new Uint8Array(4096);
      this.call('recvfrom', fd, answer, answer.length, 0, null, null);
      const errno = new DataView(answer.buffer).getInt32(16, true);
      if (errno !== 0) throw new Error(`this kernel makes no netkit device: errno ${-errno}`);
    } finally {
      this.close(fd);
    }
  }
}

/** An address and its size, as two arguments. */
const sized = (bytes) => [bytes, bytes.length];

/** The loopback address of a family; for Unix sockets an abstract name. */
function address(family, port, name) {
  if (family === AF_UNIX) return Buffer.concat([Buffer.from([AF_UNIX, 0, 0]), Buffer.from(`rawbpf-${process.pid}-${name}`)]);
  const bytes = new Uint8Array(family === AF_INET ? 16 : 28);
  bytes[0] = family;
  bytes[2] = port >> 8;
  bytes[3] = port & 255;
  if (family === AF_INET) bytes.set([127, 0, 0, 1], 4);
  else bytes[23] = 1;
  return bytes;
}
