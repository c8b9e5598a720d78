import { writeFileSync } from 'node:fs';
import { fileError } from './read-input.ts';

/** Writes a whole file. @throws RawbpfError E_FILE with the path and the reason */
export function writeFile(file: string, content: Uint8Array | string): void {
  try {
    writeFileSync(file, content);
  } catch (cause) {
    throw fileError('write', file, cause);
  }
}
