import type { Kernel } from '../kernel/kernel.ts';
import type { BpfMap } from '../map/map.ts';
import type { LinkSession } from '../object/link/session.ts';
import type { LinkedProgram } from '../object/linked.ts';
import type { MapSpec, ObjectSpec, ProgramSpec } from '../object/spec.ts';
import type { LoadedBtf } from '../program/btf.ts';
import { UndoList } from '../undo.ts';
import { checkByteOrder, loadObjectBtf, loadOne, openSession, ownedMaps } from './load.ts';
import { createMaps, fillProgramSlots, type MapWorld } from './maps.ts';
import { prepareSpec } from './options.ts';
import { attachable, known, loadedVerdict, optionsToLoad, type ProgramVerdict, type TryOptions, verdict } from './verdict.ts';

/** The object's BTF and maps in the kernel. */
interface Made {
  readonly btf: LoadedBtf | null;
  readonly maps: ReadonlyMap<string, BpfMap>;
}

/**
 * Tries programs of an object each alone, linked anew as if no other were to load, with all maps of the object as libbpf would. Maps that
 * are the same for each are made once.
 */
export class LonePrograms {
  readonly #kernel: Kernel;
  readonly #spec: ObjectSpec;
  readonly #options: TryOptions;
  readonly #undo = new UndoList();
  readonly #canShare: boolean;
  #shared: Made | null = null;

  constructor(kernel: Kernel, spec: ObjectSpec, options: TryOptions) {
    this.#kernel = kernel;
    this.#spec = spec;
    this.#options = options;
    this.#canShare = !spec.maps.some(isForOneProgram);
  }

  try(program: ProgramSpec): ProgramVerdict {
    const kernel = this.#kernel;
    const spec = this.#spec;
    const options = optionsToLoad(spec, this.#options);
    const undo = new UndoList();
    let linked: LinkedProgram | null = null;
    try {
      checkByteOrder(spec);
      const prepared = prepareSpec(spec, { ...options, programs: (candidate) => candidate.name === program.name });
      const own = prepared.programs[spec.programs.indexOf(program)] as ProgramSpec;
      const session = openSession(kernel, prepared, [own], options.extraBtfs);
      const result = session.link(own);
      if (!result.ok) throw result.error;
      linked = result.program;
      if (spec.strict && session.error !== null) throw session.error;
      const { btf, maps } = this.#make(prepared, session, undo);
      const loaded = loadOne({ kernel, spec: prepared, options, session, btf, undo }, maps, linked);
      fillProgramSlots(prepared, maps, (name) => (name === loaded.name ? loaded.fd : null));
      return loadedVerdict(program, loaded, this.#options);
    } catch (caught) {
      return verdict(program, linked, {
        loaded: false,
        tag: null,
        attached: this.#options.attach === true && attachable(program) ? false : null,
        error: known(caught),
      });
    } finally {
      undo.undo();
    }
  }

  /** Lets go of what programs shared. */
  close(): void {
    this.#undo.undo();
    this.#shared = null;
  }

  #make(prepared: ObjectSpec, session: LinkSession, undo: UndoList): Made {
    // A program may need more in the object's BTF than is there, on an older kernel.
    const share = this.#canShare && session.btf === this.#spec.btf;
    if (share && this.#shared !== null) return this.#shared;
    // Where a map cannot be made the next program fails at it anew, and says so itself.
    const making = new UndoList();
    try {
      const btf = loadObjectBtf(this.#kernel, session);
      if (btf !== null) making.own(btf);
      const options = optionsToLoad(this.#spec, this.#options);
      const world: MapWorld = { kernel: this.#kernel, spec: prepared, options, session, btf, undo: making };
      const made = { btf, maps: createMaps(world) };
      if (share) this.#shared = made;
      (share ? this.#undo : undo).add(() => making.undo());
      return made;
    } catch (error) {
      making.undo();
      throw error;
    }
  }
}

/** Maps that belong to the first program that uses them, hold programs, or are of a struct of functions. */
function isForOneProgram(map: MapSpec): boolean {
  if (ownedMaps.has(map.type) || map.structOps !== null || map.slots.some(({ kind }) => kind === 'program')) return true;
  return map.inner !== null && isForOneProgram(map.inner);
}
