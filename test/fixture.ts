import { readFileSync } from 'node:fs';

/** The bytes of a file in fixtures/. */
export function fixture(name: string): Uint8Array {
  return readFileSync(new URL(`../../fixtures/${name}`, import.meta.url));
}

/** A file in fixtures/expected/: what an independent tool said, with the command in fixtures/README.md. */
export function expectedText(name: string): string {
  return readFileSync(new URL(`../../fixtures/expected/${name}`, import.meta.url), 'utf8');
}
