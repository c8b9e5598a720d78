import { fstatSync } from 'node:fs';
import type { Collection } from '../../bpf/collection/collection.ts';
import type { Kernel } from '../../bpf/kernel/kernel.ts';
import { deviceIndex } from '../../bpf/link/device.ts';
import type { BpfLink } from '../../bpf/link/link.ts';
import { attachTc } from '../../bpf/link/tc.ts';
import type { BpfMap } from '../../bpf/map/map.ts';
import type { BpfProgram } from '../../bpf/program/program.ts';
import { BPF_PROG_TYPE } from '../../bpf/uapi/prog-type.gen.ts';
import { RawbpfError, UsageError } from '../../error.ts';
import type { Gadget } from '../../gadget/gadget.ts';
import type { PartLoad, RunPart } from '../../gadget/part.ts';
import type { NamespaceFd } from '../../sys/fds.ts';
import { closeFd, openFile } from '../../sys/file.ts';
import { inNamespace, namespaceInode } from '../../sys/namespaces.ts';
import { callMap, loadDispatcher } from './dispatcher.ts';
import { listDevices } from './devices.ts';
import { openPacketSocket } from './packet-socket.ts';
import type { NamespaceWatcher } from './namespace-watcher.ts';
import { openNamespaceWatch } from './open-namespace-watch.ts';

/** Which packets a network gadget sees. */
export interface NetworkPartOptions {
  /** One device of the host's network namespace, instead of all namespaces. */
  readonly iface?: string;
  /** Whether packets of a network namespace are wanted, by its inode number; those of all unless said. */
  readonly wants?: (netns: number) => boolean;
  readonly notice?: (message: string) => void;
}

type Direction = 'ingress' | 'egress';

interface Attached {
  readonly program: BpfProgram;
  readonly calls: BpfMap;
  /** Of a classifier; null for a socket filter. */
  readonly direction: Direction | null;
}

/** What is attached for one network namespace. */
interface Place {
  readonly sockets: number[];
  readonly links: Map<number, BpfLink[]>;
  readonly dispatchers: BpfProgram[];
}

/** How often devices are looked for that a container has got since. */
const devicesMs = 500;

/**
 * Attaches socket filters and classifiers in every network namespace that has processes, through a dispatcher for each, as
 * long as there are any: a namespace is held no longer than its last process.
 */
export class NetworkPart implements RunPart {
  readonly #options: NetworkPartOptions;
  readonly #notice: (message: string) => void;
  readonly #places = new Map<number, Place>();
  #kernel: Kernel | null = null;
  #attached: Attached[] = [];
  #watch: NamespaceWatcher | null = null;
  #timer: NodeJS.Timeout | null = null;
  #told = new Set<string>();

  constructor(options: NetworkPartOptions = {}) {
    this.#options = options;
    this.#notice = options.notice ?? ((): void => {});
  }

  prepare(gadget: Gadget, kernel: Kernel): PartLoad {
    const names = gadget.spec.programs.filter(({ type }) => isNetwork(type)).map(({ name }) => name);
    if (names.length === 0) {
      if (this.#options.iface === undefined) return {};
      throw new UsageError({
        code: 'E_IFACE',
        what: 'this gadget does not look at packets',
        where: { gadget: gadget.name },
        next: 'leave --iface out',
      });
    }
    this.#kernel = kernel;
    return { attaches: new Set(names) };
  }

  attach(collection: Collection): number {
    const kernel = this.#kernel;
    if (kernel === null) return 0;
    for (const program of collection.programs.values()) {
      if (isNetwork(program.type)) this.#attached.push({ program, calls: callMap(program), direction: directionOf(program) });
    }
    const { iface } = this.#options;
    if (iface !== undefined) {
      this.#attachIface(kernel, iface);
      return this.#attached.length;
    }
    const listener = {
      entered: (netns: number, tid: number): void => this.#enter(kernel, netns, tid),
      left: (netns: number): void => this.#leave(netns),
    };
    this.#watch = openNamespaceWatch(kernel, listener, this.#notice);
    if (this.#attached.some(({ direction }) => direction !== null)) {
      this.#timer = setInterval(() => this.#lookForDevices(kernel), devicesMs);
      this.#timer.unref();
      this.#lookForDevices(kernel);
    }
    return this.#attached.length;
  }

  /** Network namespaces in which something is attached. */
  get namespaces(): readonly number[] {
    return [...this.#places.keys()];
  }

  close(): void {
    this.#watch?.close();
    this.#watch = null;
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    for (const netns of Array.from(this.#places.keys())) this.#leave(netns);
    for (const { calls } of this.#attached) calls.close();
    this.#attached = [];
    this.#kernel = null;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #attachIface(kernel: Kernel, iface: string): void {
    const ifindex = deviceIndex(kernel.sys, iface);
    const place = this.#placeOf(hostNetns());
    for (const each of this.#attached) {
      const dispatcher = this.#dispatcher(place, each, hostNetns());
      if (each.direction === null) place.sockets.push(openPacketSocket(kernel.sys, dispatcher, ifindex));
      else addLink(place, ifindex, attachTc(dispatcher, ifindex, { direction: each.direction }));
    }
  }

  #placeOf(netns: number): Place {
    let place = this.#places.get(netns);
    if (place === undefined) this.#places.set(netns, (place = { sockets: [], links: new Map(), dispatchers: [] }));
    return place;
  }

  #dispatcher(place: Place, { program, calls }: Attached, netns: number): BpfProgram {
    const dispatcher = loadDispatcher(program, calls, netns);
    place.dispatchers.push(dispatcher);
    return dispatcher;
  }

  #enter(kernel: Kernel, netns: number, tid: number): void {
    if (this.#places.has(netns) || this.#options.wants?.(netns) === false) return;
    try {
      const done = this.#within(kernel, netns, tid, () => {
        const place = this.#placeOf(netns);
        for (const each of this.#attached) {
          if (each.direction !== null) continue;
          place.sockets.push(openPacketSocket(kernel.sys, this.#dispatcher(place, each, netns)));
        }
      });
      if (!done) this.#watch?.forget(netns);
    } catch (error) {
      this.#leave(netns);
      this.#failed(netns, error);
    }
  }

  /** Does something in the namespace that a thread is in; false where it is there no more. */
  #within(kernel: Kernel, netns: number, tid: number, work: () => void): boolean {
    let fd: NamespaceFd;
    try {
      fd = openFile(kernel.sys, `/proc/${tid}/ns/net`) as number as NamespaceFd;
    } catch (error) {
      if (error instanceof RawbpfError) return false;
      throw error;
    }
    try {
      // The thread may have gone on, or its number may be another's by now.
      if (fstatSync(fd).ino !== netns) return false;
      inNamespace(kernel.sys, fd, 'net', work);
      return true;
    } finally {
      closeFd(kernel.sys, fd);
    }
  }

  #leave(netns: number): void {
    const place = this.#places.get(netns);
    this.#places.delete(netns);
    if (place === undefined) return;
    for (const fd of place.sockets) this.#closeSocket(fd);
    for (const links of place.links.values()) for (const link of links) link.close();
    for (const dispatcher of place.dispatchers) dispatcher.close();
  }

  #closeSocket(fd: number): void {
    if (this.#kernel !== null) closeFd(this.#kernel.sys, fd);
  }

  /** Classifiers go to the host's end of each container's veth, and to the host's own devices. */
  #lookForDevices(kernel: Kernel): void {
    try {
      const devices = listDevices(kernel.sys);
      const host = hostNetns();
      const wanted = new Map<number, number>();
      for (const { index, kind } of devices) if (kind === '' && this.#options.wants?.(host) !== false) wanted.set(index, host);
      for (const [netns, index] of this.#veths(kernel, devices)) wanted.set(index, netns);
      for (const [netns, place] of this.#places) {
        for (const [index, links] of place.links) {
          if (wanted.get(index) === netns) continue;
          for (const link of links) link.close();
          place.links.delete(index);
        }
      }
      for (const [index, netns] of wanted) this.#attachDevice(index, netns, netns !== host);
    } catch (error) {
      this.#failed(0, error);
    }
  }

  #attachDevice(index: number, netns: number, isPeer: boolean): void {
    const place = this.#placeOf(netns);
    if (place.links.has(index)) return;
    place.links.set(index, []);
    try {
      for (const each of this.#attached) {
        if (each.direction === null) continue;
        // What comes out of the container comes in at the host's end.
        const direction = isPeer ? opposite(each.direction) : each.direction;
        addLink(place, index, attachTc(this.#dispatcher(place, each, netns), index, { direction }));
      }
    } catch (error) {
      this.#failed(netns, error);
    }
  }

  /** The host's devices whose other end is in a namespace, by that namespace. */
  #veths(
    kernel: Kernel,
    devices: readonly { readonly index: number; readonly peer: number; readonly elsewhere: boolean }[],
  ): [number, number][] {
    const found: [number, number][] = [];
    const ours = new Map(devices.filter(({ elsewhere, peer }) => elsewhere && peer > 0).map(({ index, peer }) => [index, peer]));
    if (ours.size === 0) return found;
    for (const [netns, tid] of this.#watch?.threads ?? []) {
      if (netns === hostNetns() || this.#options.wants?.(netns) === false) continue;
      this.#within(kernel, netns, tid, () => {
        for (const { index, peer, elsewhere } of listDevices(kernel.sys)) {
          if (elsewhere && ours.get(peer) === index) found.push([netns, peer]);
        }
      });
    }
    return found;
  }

  #failed(netns: number, error: unknown): void {
    if (!(error instanceof RawbpfError)) throw error;
    const message = `packets of ${netns === 0 ? 'some devices' : `network namespace ${netns}`} are not seen: ${error.message}`;
    if (this.#told.has(message)) return;
    this.#told.add(message);
    this.#notice(message);
  }
}

function isNetwork(type: number): boolean {
  return type === BPF_PROG_TYPE.BPF_PROG_TYPE_SOCKET_FILTER || type === BPF_PROG_TYPE.BPF_PROG_TYPE_SCHED_CLS;
}

function directionOf(program: BpfProgram): Direction | null {
  if (program.type === BPF_PROG_TYPE.BPF_PROG_TYPE_SOCKET_FILTER) return null;
  return /^\??(?:classifier|tcx?)\/egress\b/.test(program.spec?.sectionName ?? '') ? 'egress' : 'ingress';
}

function opposite(direction: Direction): Direction {
  return direction === 'ingress' ? 'egress' : 'ingress';
}

function addLink(place: Place, index: number, link: BpfLink): void {
  const links = place.links.get(index);
  if (links === undefined) place.links.set(index, [link]);
  else links.push(link);
}

function hostNetns(): number {
  return namespaceInode('self', 'net') ?? 0;
}
