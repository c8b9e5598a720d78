import { UnsupportedError } from '../../error.ts';
import { bpf, bpfError } from '../../sys/bpf.ts';
import { closeFd } from '../../sys/file.ts';
import { BPF_ATTACH_TYPE } from '../uapi/attach-type.gen.ts';
import { nameOf } from '../uapi/names.ts';
import type { BpfProgram } from '../program/program.ts';
import type { BpfLink, LinkKind, LinkNames } from './link.ts';

/** A program attached by BPF_PROG_ATTACH, for hooks that have no links (on this kernel): it stays until it is detached. */
export class ProgAttachment implements BpfLink {
  readonly program: BpfProgram;
  readonly kind: LinkKind;
  readonly target: string;
  readonly #targetFd: number;
  readonly #attachType: number;
  #closed = false;

  private constructor(program: BpfProgram, names: LinkNames, targetFd: number, attachType: number) {
    this.program = program;
    this.kind = names.kind;
    this.target = names.target;
    this.#targetFd = targetFd;
    this.#attachType = attachType;
  }

  /** Attaches; `targetFd` is given away, and closed where that fails. */
  static attach(program: BpfProgram, attachType: number, names: LinkNames, targetFd: number): ProgAttachment {
    const { kernel } = program;
    const attr = { target_fd: targetFd, attach_bpf_fd: program.fd, attach_type: attachType };
    const result = bpf(kernel.sys, 'BPF_PROG_ATTACH', attr);
    if (result < 0) {
      closeFd(kernel.sys, targetFd);
      throw bpfError(kernel.sys, 'BPF_PROG_ATTACH', result, {
        what: 'cannot attach',
        where: { program: program.name, target: names.target, attach_type: nameOf(BPF_ATTACH_TYPE, attachType) ?? attachType },
      });
    }
    kernel.trace({ step: 'attach', program: program.name, kind: names.kind, target: names.target });
    return new ProgAttachment(program, names, targetFd, attachType);
  }

  get closed(): boolean {
    return this.#closed;
  }

  info(): null {
    return null;
  }

  update(): never {
    throw this.#noLink('E_LINK_UPDATE', 'put another program into it');
  }

  pin(): never {
    throw this.#noLink('E_LINK_PIN', 'pin it');
  }

  detach(): void {
    this.close();
  }

  /** Detaches. The program has to be open still: the kernel takes off the one it is told, no other. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const { sys } = this.program.kernel;
    if (!this.program.closed)
      bpf(sys, 'BPF_PROG_DETACH', { target_fd: this.#targetFd, attach_bpf_fd: this.program.fd, attach_type: this.#attachType });
    closeFd(sys, this.#targetFd);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #noLink(code: string, action: string): UnsupportedError {
    return new UnsupportedError({
      code,
      what: `cannot ${action}`,
      where: { kind: this.kind, target: this.target },
      why: 'this kernel attaches such programs without a link',
    });
  }
}
