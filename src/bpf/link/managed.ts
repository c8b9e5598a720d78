import type { BpfProgram } from '../program/program.ts';
import type { LinkInfo } from './info.ts';
import type { BpfLink, LinkKind } from './link.ts';

/** A link with something beside it that goes together with it, unless it was pinned. */
export class ManagedLink implements BpfLink {
  readonly #link: BpfLink;
  readonly #after: () => void;
  #pinned = false;
  #done = false;

  /** `after` runs once, when the link is closed or detached. */
  constructor(link: BpfLink, after: () => void) {
    this.#link = link;
    this.#after = after;
  }

  get program(): BpfProgram | null {
    return this.#link.program;
  }

  get kind(): LinkKind {
    return this.#link.kind;
  }

  get target(): string {
    return this.#link.target;
  }

  get closed(): boolean {
    return this.#link.closed;
  }

  info(): LinkInfo | null {
    return this.#link.info();
  }

  update(program: BpfProgram): void {
    this.#link.update(program);
  }

  pin(path: string): void {
    this.#link.pin(path);
    this.#pinned = true;
  }

  detach(): void {
    this.#link.detach();
    this.#finish();
  }

  close(): void {
    this.#link.close();
    if (!this.#pinned) this.#finish();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #finish(): void {
    if (this.#done) return;
    this.#done = true;
    this.#after();
  }
}
