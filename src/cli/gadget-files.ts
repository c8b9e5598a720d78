import { existsSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { didYouMean } from '../bytes/suggest.ts';
import { RawbpfError, UsageError } from '../error.ts';

/** Where a gadget's parts lie. */
export interface GadgetFiles {
  /** Name in messages: `trace_exec`. */
  readonly name: string;
  /** The compiled object; null where there is only a source. */
  readonly object: string | null;
  /** program.bpf.c, where the gadget is a folder of the user's. */
  readonly source: string | null;
  /** gadget.yaml, null where there is none. */
  readonly metadata: string | null;
}

/** The folder of the gadgets that come with rawbpf. */
export const builtinFolder: string = fileURLToPath(new URL('../../../gadgets/', import.meta.url));
/** The folder of the headers for gadget authors, for clang's -I. */
export const includeFolder: string = fileURLToPath(new URL('../../../include/', import.meta.url));

const machine = process.arch === 'arm64' ? 'arm64' : 'x86';

/** Names of the built-in gadgets, sorted. */
export function builtinGadgets(): string[] {
  if (!existsSync(builtinFolder)) return [];
  return readdirSync(builtinFolder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && objectIn(path.join(builtinFolder, entry.name)) !== null)
    .map((entry) => entry.name)
    .toSorted();
}

/**
 * Finds a gadget: a built-in name, an object file, or a folder with program.bpf.c.
 *
 * @throws UsageError E_USAGE where nothing of that name is there
 */
export function findGadget(given: string): GadgetFiles {
  if (/^\w+$/.test(given) && builtinGadgets().includes(given)) return inFolder(path.join(builtinFolder, given), given);
  if (existsSync(given)) {
    if (!statSync(given).isDirectory()) {
      const name = path.basename(given).replace(/(\.bpf)?(\.(x86|arm64))?\.o$/, '');
      return { name, object: given, source: null, metadata: existing(path.join(path.dirname(given), 'gadget.yaml')) };
    }
    const found = inFolder(given, path.basename(path.resolve(given)));
    if (found.object !== null || found.source !== null) return found;
    throw new RawbpfError({
      code: 'E_GADGET_FOLDER',
      what: `${given} holds no gadget`,
      why: 'there is neither program.bpf.c nor a compiled program.bpf.o in it',
    });
  }
  throw new UsageError({
    code: 'E_USAGE',
    what: `no gadget ${given}`,
    why: 'a gadget is a built-in name, a compiled object (.o) or a folder with program.bpf.c',
    next: didYouMean(given, builtinGadgets()) || 'rawbpf list shows the built-in ones',
  });
}

function inFolder(folder: string, name: string): GadgetFiles {
  return {
    name,
    object: objectIn(folder),
    source: existing(path.join(folder, 'program.bpf.c')),
    metadata: existing(path.join(folder, 'gadget.yaml')),
  };
}

function objectIn(folder: string): string | null {
  return existing(path.join(folder, `program.bpf.${machine}.o`)) ?? existing(path.join(folder, 'program.bpf.o'));
}

function existing(file: string): string | null {
  return existsSync(file) ? file : null;
}
