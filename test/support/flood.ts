import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Kernel } from '../../src/bpf/kernel/kernel.ts';
import { openProgramById } from '../../src/bpf/program/open.ts';
import { testRun } from '../bpf/events/producer.ts';

/** The gadget of fixtures/gadget/flood.bpf.c. */
export const floodObject: string = fileURLToPath(new URL('../../../fixtures/gadget/flood.bpf.o', import.meta.url));
/** Most events of one run of its program. */
export const maxFlood = 1024;
/** The word that its program is run with. */
const word = 0x666c6f6f64;

/** The flood gadget of a process that runs it: sends as many events as asked for. */
export interface Flood {
  /** Tries to send up to {@link maxFlood} events, the first numbered `first`; returns how many found room. */
  run(first: number, count: number): number;
  close(): void;
}

/** Finds the gadget's program among what a process holds; null while it is not there. */
export function openFlood(pid: number): Flood | null {
  const kernel = new Kernel();
  for (const id of programIds(pid)) {
    const program = openProgramById(kernel, id);
    if (program === null) continue;
    if (program.info().name === 'flood') {
      return {
        run: (first, count) => testRun(kernel.sys, program.fd, [word, count, first]),
        close: () => {
          program.close();
          kernel.close();
        },
      };
    }
    program.close();
  }
  kernel.close();
  return null;
}

function programIds(pid: number): readonly number[] {
  const ids: number[] = [];
  let fds: readonly string[] = [];
  try {
    fds = readdirSync(`/proc/${pid}/fdinfo`);
  } catch {
    // Ended.
  }
  for (const fd of fds) {
    try {
      const id = /^prog_id:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'))?.[1];
      if (id !== undefined) ids.push(Number(id));
    } catch {
      // Closed meanwhile.
    }
  }
  return ids;
}
