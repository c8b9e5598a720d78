import { writeSync } from 'node:fs';
import type { TextTarget } from './command.ts';

/**
 * A standard descriptor of a command that ends by itself, written to at once: Node's own streams take 5 ms of a start. Only where
 * the descriptor would block (somebody made it so) does the stream take over.
 */
export class StandardOutput implements TextTarget {
  readonly #fd: number;
  readonly #stream: () => TextTarget;
  readonly #failed: (error: NodeJS.ErrnoException) => void;
  #opened: TextTarget | null = null;
  #over = false;

  /** `failed` is told once why writing is over. */
  constructor(fd: number, stream: () => TextTarget, failed: (error: NodeJS.ErrnoException) => void) {
    this.#fd = fd;
    this.#stream = stream;
    this.#failed = failed;
  }

  write(text: string | Uint8Array): void {
    if (this.#over) return;
    if (this.#opened !== null) {
      this.#opened.write(text);
      return;
    }
    const bytes = typeof text === 'string' ? Buffer.from(text) : text;
    let at = 0;
    try {
      while (at < bytes.length) at += writeSync(this.#fd, bytes, at);
    } catch (cause) {
      const error = cause as NodeJS.ErrnoException;
      if (error.code === 'EAGAIN') {
        this.#opened = this.#stream();
        this.#opened.write(bytes.subarray(at));
        return;
      }
      this.#over = true;
      this.#failed(error);
    }
  }
}
