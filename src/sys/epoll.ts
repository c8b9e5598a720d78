import { EPOLL } from './constants.ts';
import { check } from './errno.ts';
import type { EpollFd } from './fds.ts';
import { OwnedFd } from './file.ts';
import type { Sys } from './sys.ts';

/** An epoll instance (epoll(7)). */
export class Epoll {
  readonly #sys: Sys;
  readonly #fd: OwnedFd<EpollFd>;
  readonly #events: Uint8Array;
  readonly #eventSize: number;

  constructor(sys: Sys, maxEvents = 64) {
    this.#sys = sys;
    const fd = check(sys.call('epoll_create1', EPOLL.EPOLL_CLOEXEC), 'epoll_create1', { what: 'cannot make an epoll instance' });
    this.#fd = new OwnedFd(sys, fd as EpollFd);
    // struct epoll_event is packed on x86-64 and nowhere else (include/uapi/linux/eventpoll.h).
    this.#eventSize = sys.arch === 'x64' ? 12 : 16;
    this.#events = new Uint8Array(this.#eventSize * maxEvents);
  }

  get fd(): EpollFd {
    return this.#fd.fd;
  }

  /** Adds a descriptor; returns 0 or a negative errno. `events` are EPOLL_* bits. */
  add(fd: number, events: number): number {
    return this.#control(EPOLL.EPOLL_CTL_ADD, fd, events);
  }

  /** Removes a descriptor; returns 0 or a negative errno. */
  remove(fd: number): number {
    return this.#control(EPOLL.EPOLL_CTL_DEL, fd, 0);
  }

  /** Takes the events that are ready, waiting at most `timeoutMs`; returns how many descriptors are ready, or a negative errno. */
  wait(timeoutMs = 0): number {
    return this.#sys.call('epoll_pwait', this.#fd.fd, this.#events, this.#events.length / this.#eventSize, timeoutMs, null, 8);
  }

  /** The descriptor of ready event `index` of the last wait(). */
  readyFd(index: number): number {
    const at = index * this.#eventSize + this.#eventSize - 8;
    return new DataView(this.#events.buffer).getUint32(at, true);
  }

  close(): void {
    this.#fd.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #control(operation: number, fd: number, events: number): number {
    const event = new Uint8Array(this.#eventSize);
    const view = new DataView(event.buffer);
    view.setUint32(0, events, true);
    view.setUint32(this.#eventSize - 8, fd, true);
    return this.#sys.call('epoll_ctl', this.#fd.fd, operation, fd, event);
  }
}
