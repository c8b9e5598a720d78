import { bpf, bpfError } from '../../sys/bpf.ts';
import type { LinkFd } from '../../sys/fds.ts';
import { closeFd } from '../../sys/file.ts';
import { BPF_F } from '../uapi/flags.gen.ts';
import { ObjectFd } from '../fd.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { pinObject } from '../pin.ts';
import type { BpfProgram } from '../program/program.ts';
import { linkInfo, type LinkInfo } from './info.ts';

/** What a link attaches: the section table's kinds, and the hooks that need an address of their own. */
export type LinkKind =
  | 'tracepoint'
  | 'raw_tracepoint'
  | 'tracing'
  | 'lsm'
  | 'iter'
  | 'perf_event'
  | 'kprobe'
  | 'uprobe'
  | 'usdt'
  | 'kprobe_multi'
  | 'tracing_multi'
  | 'uprobe_multi'
  | 'cgroup'
  | 'netns'
  | 'xdp'
  | 'tcx'
  | 'tc'
  | 'netkit'
  | 'netfilter'
  | 'sockmap'
  | 'lirc'
  | 'socket'
  | 'struct_ops'
  | 'freplace'
  | 'unknown';

/** An attached program. Closing a link detaches it, unless it is pinned. */
export interface BpfLink {
  /** Null for a link opened by its id or pin. */
  readonly program: BpfProgram | null;
  readonly kind: LinkKind;
  /** What it is attached to, for people: `syscalls/sys_enter_execve`. */
  readonly target: string;
  readonly closed: boolean;
  /** What the kernel says about it; null where the kernel has no object for it (attached by an ioctl). */
  info(): LinkInfo | null;
  /** Puts another program in its place, in one step; throws E_LINK_UPDATE where this kind cannot. */
  update(program: BpfProgram): void;
  /** Makes it last beyond this process; throws E_LINK_PIN where this kind cannot. */
  pin(path: string): void;
  /** Detaches, pinned or not. */
  detach(): void;
  close(): void;
  [Symbol.dispose](): void;
}

/** Words that go with a link. */
export interface LinkNames {
  readonly kind: LinkKind;
  readonly target: string;
}

/** A link that the kernel holds as an object (BPF_LINK_CREATE, BPF_RAW_TRACEPOINT_OPEN). */
export class KernelLink implements BpfLink {
  readonly kernel: Kernel;
  readonly program: BpfProgram | null;
  readonly kind: LinkKind;
  readonly target: string;
  readonly #owned: ObjectFd<'link'>;
  readonly #extra: readonly number[];

  /** Takes over the descriptors; `extra` are closed together with the link. */
  constructor(kernel: Kernel, fd: number, program: BpfProgram | null, names: LinkNames, extra: readonly number[] = []) {
    this.kernel = kernel;
    this.program = program;
    this.kind = names.kind;
    this.target = names.target;
    this.#owned = new ObjectFd(kernel.sys, fd, `link to ${names.target}`);
    this.#extra = extra;
  }

  get fd(): LinkFd {
    return this.#owned.fd;
  }

  get closed(): boolean {
    return this.#owned.closed;
  }

  info(): LinkInfo {
    return linkInfo(this.kernel.sys, this.fd);
  }

  update(program: BpfProgram): void {
    const result = bpf(this.kernel.sys, 'BPF_LINK_UPDATE', { link_fd: this.fd, new_prog_fd: program.fd });
    if (result < 0)
      throw bpfError(this.kernel.sys, 'BPF_LINK_UPDATE', result, {
        what: 'cannot put another program into this link',
        where: this.#where(),
      });
  }

  /** Puts a program in the place of `old`, only if that is still the one attached. */
  replace(old: BpfProgram, program: BpfProgram): void {
    const attr = { link_fd: this.fd, new_prog_fd: program.fd, old_prog_fd: old.fd, flags: BPF_F.BPF_F_REPLACE };
    const result = bpf(this.kernel.sys, 'BPF_LINK_UPDATE', attr);
    if (result < 0)
      throw bpfError(this.kernel.sys, 'BPF_LINK_UPDATE', result, { what: 'cannot replace the program of this link', where: this.#where() });
  }

  pin(path: string): void {
    pinObject(this.kernel, this.fd, path);
  }

  detach(): void {
    if (this.closed) return;
    const result = bpf(this.kernel.sys, 'BPF_LINK_DETACH', { link_fd: this.fd });
    // Kinds without a detach operation (EOPNOTSUPP) go with the last descriptor.
    this.close();
    if (result < 0 && result !== -95) {
      throw bpfError(this.kernel.sys, 'BPF_LINK_DETACH', result, { what: 'cannot detach', where: this.#where() });
    }
  }

  close(): void {
    if (this.closed) return;
    this.#owned.close();
    for (const fd of this.#extra) closeFd(this.kernel.sys, fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #where(): Readonly<Record<string, string>> {
    return { kind: this.kind, target: this.target };
  }
}

/** Several links that belong together, such as one for each CPU. */
export class LinkGroup implements BpfLink {
  readonly program: BpfProgram | null;
  readonly kind: LinkKind;
  readonly target: string;
  readonly links: readonly BpfLink[];

  constructor(program: BpfProgram | null, names: LinkNames, links: readonly BpfLink[]) {
    this.program = program;
    this.kind = names.kind;
    this.target = names.target;
    this.links = links;
  }

  get closed(): boolean {
    return this.links.every((link) => link.closed);
  }

  /** The first link's; ask {@link LinkGroup.links} for all. */
  info(): LinkInfo | null {
    return this.links[0]?.info() ?? null;
  }

  update(program: BpfProgram): void {
    for (const link of this.links) link.update(program);
  }

  pin(path: string): void {
    this.links.forEach((link, i) => link.pin(`${path}.${i}`));
  }

  detach(): void {
    for (const link of this.links) link.detach();
  }

  close(): void {
    for (const link of this.links) link.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
