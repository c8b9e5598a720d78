// A machine out of a recording: its /proc as files, and its runtime's socket as recorded answers.
import { linkSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

/** A process as scripts/containers/processes.mjs writes it. */
export interface RecordedProcess {
  readonly pid: number;
  readonly files: Readonly<Record<string, string>>;
  /** Inode numbers by kind: mnt, net, pid, user. */
  readonly namespaces: Readonly<Record<string, number>>;
}

/** A folder in which `proc` looks as it was recorded. Of namespaces that were the same the files are, too: inode numbers are others. */
export class RecordedMachine {
  readonly root: string = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-machine-'));

  constructor(processes: readonly RecordedProcess[]) {
    const known = new Set<string>();
    mkdirSync(path.join(this.root, 'ns'));
    for (const { pid, files, namespaces } of processes) {
      const folder = path.join(this.root, 'proc', String(pid));
      mkdirSync(path.join(folder, 'ns'), { recursive: true });
      for (const [name, text] of Object.entries(files)) writeFileSync(path.join(folder, name), text, 'latin1');
      for (const [kind, inode] of Object.entries(namespaces)) {
        const file = path.join(this.root, 'ns', `${kind}-${inode}`);
        if (!known.has(file)) writeFileSync(file, '');
        known.add(file);
        linkSync(file, path.join(folder, 'ns', kind));
      }
    }
  }

  close(): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}
