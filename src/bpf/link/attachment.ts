import { UnsupportedError } from '../../error.ts';
import type { BpfProgram } from '../program/program.ts';
import type { BpfLink, LinkKind, LinkNames } from './link.ts';

/** What stands in for a link where the kernel has none. */
export interface AttachmentParts extends LinkNames {
  /** Why it cannot do what links do, as a sentence's end. */
  readonly why: string;
  /** Detaches. */
  readonly end: () => void;
}

/** A program attached without a link: it cannot be pinned or updated, and goes when it is closed. */
export class Attachment implements BpfLink {
  readonly program: BpfProgram;
  readonly kind: LinkKind;
  readonly target: string;
  readonly #parts: AttachmentParts;
  #closed = false;

  constructor(program: BpfProgram, parts: AttachmentParts) {
    this.program = program;
    this.kind = parts.kind;
    this.target = parts.target;
    this.#parts = parts;
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

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#parts.end();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #noLink(code: string, action: string): UnsupportedError {
    const { kind, target, why } = this.#parts;
    return new UnsupportedError({ code, what: `cannot ${action}`, where: { kind, target }, why });
  }
}
