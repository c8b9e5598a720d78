import { RawbpfError, UsageError } from '../../error.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { attachProgram } from '../link/attach.ts';
import type { BpfLink } from '../link/link.ts';
import { didYouMean } from '../../bytes/suggest.ts';
import type { BpfMap } from '../map/map.ts';
import type { ObjectSpec, ProgramSpec } from '../object/spec.ts';
import type { BpfProgram } from '../program/program.ts';
import { attemptAll, undoOnError } from '../undo.ts';
import { namedVariable } from './options.ts';
import type { StructOps } from './struct-ops.ts';
import { BpfVariable, VariableMemory } from './variables.ts';

/** A program that was left out, and why. */
export interface SkippedProgram {
  readonly spec: ProgramSpec;
  readonly error: RawbpfError;
}

/** What a {@link Collection} is made of. */
export interface CollectionParts {
  readonly spec: ObjectSpec;
  readonly maps: ReadonlyMap<string, BpfMap>;
  readonly programs: ReadonlyMap<string, BpfProgram>;
  readonly structOps: readonly StructOps[];
  readonly skipped: readonly SkippedProgram[];
  /** Names of maps that are the caller's and stay open. */
  readonly borrowed: ReadonlySet<string>;
}

export interface AttachAllOptions {
  /** Goes on without programs that cannot be attached, with a notice for each. */
  readonly skipUnsupported?: boolean;
}

/**
 * A loaded object: its maps, programs, variables and the links made through it. Closing it detaches the links and lets go
 * of everything.
 */
export class Collection {
  readonly kernel: Kernel;
  /** The spec as it was loaded. */
  readonly spec: ObjectSpec;
  /** By the names in the object: `events`, `.rodata`. */
  readonly maps: ReadonlyMap<string, BpfMap>;
  readonly programs: ReadonlyMap<string, BpfProgram>;
  /** Programs left out with `skipUnsupported`. */
  readonly skipped: readonly SkippedProgram[];
  /** struct_ops of the object, to be registered one by one or by {@link Collection.attach}. */
  readonly structOps: readonly StructOps[];
  readonly #borrowed: ReadonlySet<string>;
  readonly #memory: VariableMemory;
  readonly #links: BpfLink[] = [];
  readonly #variables = new Map<string, BpfVariable>();

  constructor(kernel: Kernel, parts: CollectionParts) {
    this.kernel = kernel;
    this.spec = parts.spec;
    this.maps = parts.maps;
    this.programs = parts.programs;
    this.structOps = parts.structOps;
    this.skipped = parts.skipped;
    this.#borrowed = parts.borrowed;
    this.#memory = new VariableMemory(parts.maps);
  }

  /** A map by its name in the object; throws E_MAP_NAME with suggestions. */
  map(name: string): BpfMap {
    return named('map', 'E_MAP_NAME', this.maps, name);
  }

  /** A loaded program by its function's name; throws E_PROGRAM_NAME with suggestions. */
  program(name: string): BpfProgram {
    return named('program', 'E_PROGRAM_NAME', this.programs, name);
  }

  /** A global variable by its name; throws E_VARIABLE_NAME with suggestions. */
  variable(name: string): BpfVariable {
    let variable = this.#variables.get(name);
    if (variable === undefined) {
      variable = new BpfVariable(this.spec, namedVariable(this.spec, name), this.#memory);
      this.#variables.set(name, variable);
    }
    return variable;
  }

  /** The links made by {@link attach} and {@link addLink} that are still open. */
  get links(): readonly BpfLink[] {
    return this.#links.filter((link) => !link.closed);
  }

  /** Hands a link over: it is closed together with the collection. */
  addLink<T extends BpfLink>(link: T): T {
    this.#links.push(link);
    return link;
  }

  /**
   * Attaches every program whose section says where, and registers struct_ops. All or nothing: where one cannot be attached
   * those before it are detached again, unless `skipUnsupported` says to go on.
   */
  attach(options: AttachAllOptions = {}): readonly BpfLink[] {
    const links = undoOnError((undo) => {
      const made: BpfLink[] = [];
      const attempt = (name: string, attach: () => BpfLink | null): void => {
        try {
          const link = attach();
          if (link !== null) made.push(undo.own(link));
        } catch (error) {
          if (options.skipUnsupported !== true || !(error instanceof RawbpfError)) throw error;
          this.kernel.notice({ code: 'N_ATTACH_SKIPPED', message: `${name} was not attached: ${error.message}`, cause: error });
        }
      };
      for (const program of this.programs.values()) {
        if (program.spec?.autoattach === true) attempt(`program ${program.name}`, () => attachProgram(program));
      }
      for (const ops of this.structOps) attempt(`struct_ops ${ops.name}`, () => ops.register());
      return made;
    });
    this.#links.push(...links);
    return links;
  }

  /** Lets go of how its programs were linked, and with that of the kernel's types: for a collection that stays for long. */
  forgetLinking(): void {
    for (const program of this.programs.values()) program.forgetLinking();
  }

  /** Detaches what was attached through it and lets go of programs, maps and variables; idempotent. Throws the first error, after all. */
  close(): void {
    attemptAll((attempt) => {
      for (const link of this.#links.splice(0).toReversed()) attempt(() => link.close());
      attempt(() => this.#memory.close());
      for (const program of this.programs.values()) attempt(() => program.close());
      for (const [name, map] of this.maps) if (!this.#borrowed.has(name)) attempt(() => map.close());
    });
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function named<T>(kind: string, code: string, things: ReadonlyMap<string, T>, name: string): T {
  const thing = things.get(name);
  if (thing !== undefined) return thing;
  const next = didYouMean(name, things.keys());
  throw new UsageError({ code, what: `there is no ${kind} of this name`, where: { [kind]: name }, ...(next === '' ? {} : { next }) });
}
