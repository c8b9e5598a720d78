import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** What clang said of a C source, and the object it made (null where it made none). */
export interface Compilation {
  readonly errors: string;
  readonly object: Uint8Array | null;
}

/** Compiles C for BPF as it stands, with `headers` beside it. */
export function compile(
  source: string,
  options: { headers?: Readonly<Record<string, string>>; flags?: readonly string[]; clang?: string } = {},
): Compilation {
  const folder = mkdtempSync(path.join(tmpdir(), 'rawbpf-clang-'));
  try {
    for (const [name, text] of Object.entries(options.headers ?? {})) writeFileSync(path.join(folder, name), text);
    writeFileSync(path.join(folder, 'main.c'), source);
    const args = ['-target', 'bpf', '-O1', '-ferror-limit=0', ...(options.flags ?? []), '-c', 'main.c', '-o', 'main.o'];
    const { status, stderr, error } = spawnSync(options.clang ?? 'clang-19', args, { cwd: folder, encoding: 'utf8', maxBuffer: 1 << 26 });
    if (error !== undefined) throw error;
    return { errors: stderr, object: status === 0 ? readFileSync(path.join(folder, 'main.o')) : null };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
