import { UsageError } from '../../error.ts';
import type { Btf } from '../../btf/btf.ts';
import { encodeValue } from '../../btf/value/encode.ts';
import type { MapSpec, ObjectSpec, ProgramSpec, VariableSpec } from '../object/spec.ts';
import { didYouMean } from '../../bytes/suggest.ts';
import type { BpfMap } from '../map/map.ts';
import type { BpfProgram } from '../program/program.ts';

/** How an object is loaded; names are those of the object. */
export interface LoadOptions {
  /** Maps to use instead of making the object's own; they stay the caller's. Their shapes have to agree. */
  readonly replaceMaps?: Readonly<Record<string, BpfMap>>;
  /** BTFs whose types CO-RE prefers to the kernel's, in this load only. */
  readonly extraBtfs?: readonly Btf[];
  /** max_entries of maps. */
  readonly mapSizes?: Readonly<Record<string, number>>;
  /**
   * Values of global variables, before any program sees them: numbers, bigints, text, objects, as their BTF types want;
   * a Uint8Array is taken as raw bytes. `.rodata` variables can be set here only.
   */
  readonly variables?: Readonly<Record<string, unknown>>;
  /** Maps that one program alone may use, by map: the kernel refuses them to any with other instructions (Linux 6.18). */
  readonly exclusiveMaps?: Readonly<Record<string, string>>;
  /** Which programs load, instead of all that the object does not exclude (`SEC("?...")`). */
  readonly programs?: readonly string[] | ((program: ProgramSpec) => boolean);
  /** Where maps declared with LIBBPF_PIN_BY_NAME are pinned or found; null: nowhere. `/sys/fs/bpf` unless said. */
  readonly pinRoot?: string | null;
  /** Goes on without programs that this kernel refuses, with a notice for each. */
  readonly skipUnsupported?: boolean;
  /** Programs that the others can do without: where this kernel refuses them they are only listed as skipped. */
  readonly optional?: (program: ProgramSpec) => boolean;
  /** Maps through which events come: ring buffers among them become perf event arrays where the kernel has none. */
  readonly tracerMaps?: readonly string[];
  /** For freplace programs (and tracing of programs): the loaded program that each is for. */
  readonly attachPrograms?: Readonly<Record<string, BpfProgram>>;
  /** Verifier log of every program, not only of refused ones: 1, 2 (every state) or 4 (statistics). */
  readonly logLevel?: number;
  /** Gives maps without a size one that lets them be made: for looking at objects whose user sizes them. */
  readonly sizeUnsized?: boolean;
}

/** A copy of an object's spec that loading may change, with the caller's choices applied. */
export function prepareSpec(spec: ObjectSpec, options: LoadOptions): ObjectSpec {
  const prepared: ObjectSpec = {
    ...spec,
    maps: spec.maps.map((map) => ({ ...map, data: map.data?.slice() ?? null })),
    programs: spec.programs.map((program) => ({ ...program })),
  };
  for (const [name, entries] of Object.entries(options.mapSizes ?? {})) {
    if (!Number.isInteger(entries) || entries < 0 || entries > 0xffffffff) {
      throw new UsageError({ code: 'E_MAP_SIZE', what: 'not a number of map entries', where: { map: name, max_entries: entries } });
    }
    namedMap(prepared, name).maxEntries = entries;
  }
  for (const name of Object.keys(options.replaceMaps ?? {})) namedMap(prepared, name);
  const programs = new Set(spec.programs.map(({ name }) => name));
  for (const [map, program] of Object.entries(options.exclusiveMaps ?? {})) {
    namedMap(prepared, map);
    if (!programs.has(program)) throw unknown('program', 'E_PROGRAM_NAME', program, programs);
  }
  choosePrograms(prepared, options.programs);
  for (const [name, value] of Object.entries(options.variables ?? {})) setVariable(prepared, name, value);
  return prepared;
}

function choosePrograms(spec: ObjectSpec, choice: LoadOptions['programs']): void {
  if (choice === undefined) return;
  if (typeof choice === 'function') {
    for (const program of spec.programs) program.autoload = choice(program);
    return;
  }
  const wanted = new Set(choice);
  const known = new Set(spec.programs.map(({ name }) => name));
  for (const name of wanted) if (!known.has(name)) throw unknown('program', 'E_PROGRAM_NAME', name, known);
  for (const program of spec.programs) program.autoload = wanted.has(program.name);
}

/** The map of a name; throws E_MAP_NAME with suggestions. */
export function namedMap(spec: ObjectSpec, name: string): MapSpec {
  const map = spec.maps.find((candidate) => candidate.name === name);
  if (map === undefined)
    throw unknown(
      'map',
      'E_MAP_NAME',
      name,
      spec.maps.map((candidate) => candidate.name),
    );
  return map;
}

/** The variable of a name; global ones before static ones of the same name. Throws E_VARIABLE_NAME with suggestions. */
export function namedVariable(spec: ObjectSpec, name: string): VariableSpec {
  const found = spec.variables.filter((candidate) => candidate.name === name);
  const variable = found.find((candidate) => candidate.linkage === 'global') ?? found[0];
  if (variable === undefined)
    throw unknown(
      'variable',
      'E_VARIABLE_NAME',
      name,
      spec.variables.map((candidate) => candidate.name),
    );
  return variable;
}

/**
 * Sets a global variable in a spec that is not loaded yet.
 *
 * Throws E_VARIABLE_NAME with suggestions, E_VARIABLE_SIZE for bytes of another length, UsageError for a value that does
 * not fit the type.
 *
 * @example
 * import { setVariable } from 'rawbpf';
 * import { openObject } from 'rawbpf/object';
 * export function onlyPid(object: Uint8Array, pid: number) {
 *   const spec = openObject(object);
 *   setVariable(spec, 'target_pid', pid);
 *   return spec;
 * }
 */
export function setVariable(spec: ObjectSpec, name: string, value: unknown): void {
  const variable = namedVariable(spec, name);
  const map = namedMap(spec, variable.map);
  if (map.data === null)
    throw new UsageError({ code: 'E_VARIABLE', what: 'this variable has no initial contents', where: { variable: name } });
  map.data.set(variableBytes(spec.btf, variable, value), variable.offset);
}

/** A variable's bytes for a value. */
export function variableBytes(btf: Btf | null, variable: VariableSpec, value: unknown): Uint8Array {
  const bytes = value instanceof Uint8Array ? value : encodeTyped(btf, variable, value);
  if (bytes.length !== variable.size) {
    throw new UsageError({
      code: 'E_VARIABLE_SIZE',
      what: 'wrong size for a variable',
      where: { variable: variable.name },
      why: `${bytes.length} bytes were given, it has ${variable.size}`,
    });
  }
  return bytes;
}

function encodeTyped(btf: Btf | null, variable: VariableSpec, value: unknown): Uint8Array {
  if (btf !== null && variable.typeId !== 0) return encodeValue(btf, variable.typeId, value);
  throw new UsageError({
    code: 'E_VARIABLE_UNTYPED',
    what: 'the type of this variable is not known',
    where: { variable: variable.name },
    next: 'give its bytes, or compile the object with -g',
  });
}

function unknown(kind: string, code: string, name: string, known: Iterable<string>): UsageError {
  const next = didYouMean(name, known);
  return new UsageError({
    code,
    what: `the object has no ${kind} of this name`,
    where: { [kind]: name },
    ...(next === '' ? {} : { next }),
  });
}

/** What the caller gives under a name out of a file, which may be `constructor`. */
export function own<T>(given: Readonly<Record<string, T>> | undefined, name: string): T | undefined {
  return given !== undefined && Object.hasOwn(given, name) ? given[name] : undefined;
}
