import { printable } from '../bytes/printable.ts';
import type { Btf } from '../btf/btf.ts';
import { BTF_KIND, BTF_LINKAGE } from '../btf/types.ts';
import { resolveType } from '../btf/value/resolve.ts';
import { BPF_MAP_TYPE } from '../bpf/uapi/index.ts';
import type { MapSpec, ObjectSpec, VariableSpec } from '../bpf/object/spec.ts';
import { didYouMean } from '../bytes/suggest.ts';
import { FormatError } from '../error.ts';

/** Events written one by one to a buffer: GADGET_TRACER. */
export interface TracerDeclaration {
  readonly name: string;
  readonly map: string;
  /** Name and BTF id of the events' struct. */
  readonly struct: string;
  readonly typeId: number;
  /** The per-CPU map that counts events the buffer had no room for; null in objects that do not count. */
  readonly lostMap: string | null;
}

/** Records read from a BPF iterator: GADGET_ITER, GADGET_SNAPSHOTTER. */
export interface IteratorDeclaration {
  readonly name: string;
  readonly struct: string;
  readonly typeId: number;
  readonly programs: readonly string[];
}

/** A hash map read and emptied now and then: GADGET_MAPITER. */
export interface MapIteratorDeclaration {
  readonly name: string;
  readonly map: string;
  readonly keyTypeId: number;
  readonly valueTypeId: number;
  /** The per-CPU map NAME_lost_samples, which counts what the map had no room for; null in objects that do not count. */
  readonly lostMap: string | null;
  /** Whether every CPU has values of its own, and so a row of its own. */
  readonly perCpu: boolean;
}

/** A variable that the user may set before loading: GADGET_PARAM. */
export interface ParamDeclaration {
  readonly variable: VariableSpec;
}

/** A program and the map it is attached to: GADGET_ITER_TARGET_MAP, GADGET_SK_TARGET_MAP. */
export interface TargetMapDeclaration {
  readonly program: string;
  readonly map: string;
}

/** What an object says of itself through the names of its marker variables. */
export interface GadgetContract {
  readonly btf: Btf;
  readonly tracers: readonly TracerDeclaration[];
  readonly iterators: readonly IteratorDeclaration[];
  readonly mapIterators: readonly MapIteratorDeclaration[];
  readonly params: readonly ParamDeclaration[];
  /** Maps declared by GADGET_TRACER_MAP: ring buffers that become perf event arrays on kernels without. */
  readonly bufferMaps: readonly string[];
  readonly iteratorTargets: readonly TargetMapDeclaration[];
  readonly socketTargets: readonly TargetMapDeclaration[];
  /** `gadget_var_*`: variables that enrichment may set. */
  readonly variables: readonly VariableSpec[];
  /** Whether events of some mount namespaces can be left out in the kernel: the switch and the map are both there. */
  readonly filtersByMntns: boolean;
  /** Whether it looks processes up by socket. */
  readonly usesSockets: boolean;
  /** Markers that look like some but say nothing, and why. */
  readonly notices: readonly string[];
}

/** Names of the parts that all gadgets share. */
export const GADGET_NAMES = {
  mntnsFilterMap: 'gadget_mntns_filter_map',
  mntnsFilterSwitch: 'gadget_filter_by_mntns',
  socketsMap: 'gadget_sockets',
  heapMap: 'gadget_heap',
} as const;

const perCpuHashes: ReadonlySet<number> = new Set([BPF_MAP_TYPE.BPF_MAP_TYPE_PERCPU_HASH, BPF_MAP_TYPE.BPF_MAP_TYPE_LRU_PERCPU_HASH]);
/** Maps that GADGET_MAPITER can empty. */
const hashes: ReadonlySet<number> = new Set([BPF_MAP_TYPE.BPF_MAP_TYPE_HASH, BPF_MAP_TYPE.BPF_MAP_TYPE_LRU_HASH, ...perCpuHashes]);

type Draft = {
  -readonly [K in keyof GadgetContract]: GadgetContract[K] extends readonly (infer T)[] ? T[] : GadgetContract[K];
};

/** Reads one marker: `rest` is its name without the prefix. */
type MarkerReader = (spec: ObjectSpec, draft: Draft, rest: string, marker: string) => void;

/** Longer prefixes go before those they begin with. */
const markers: readonly (readonly [prefix: string, read: MarkerReader])[] = [
  ['gadget_map_tracer_', readBufferMap],
  ['gadget_tracer_', readTracer],
  ['gadget_iter_', readIterator],
  ['gadget_snapshotter_', readIterator],
  ['gadget_mapiter_', readMapIterator],
  ['gadget_param_', readParam],
  ['gadget_mapelem_iter_target_', (spec, draft, rest, marker) => draft.iteratorTargets.push(readTarget(spec, rest, marker))],
  ['gadget_sk_prog_target_', (spec, draft, rest, marker) => draft.socketTargets.push(readTarget(spec, rest, marker))],
];

/**
 * Finds what a gadget declares: tracers, iterators, parameters and maps with a part to play, by the names of the variables
 * that the macros of `<gadget/macros.h>` leave in BTF.
 *
 * Throws FormatError `E_GADGET_BTF` (no BTF), `E_GADGET_DECLARATION` (a marker's name has not the parts it needs),
 * `E_GADGET_MAP`, `E_GADGET_EVENT`, `E_GADGET_PROGRAM` or `E_GADGET_PARAM` where a map, struct, program or variable that a
 * marker names is not there or is of the wrong kind.
 */
export function discoverGadget(spec: ObjectSpec): GadgetContract {
  const { btf } = spec;
  if (btf === null) {
    throw new FormatError({
      code: 'E_GADGET_BTF',
      what: 'the object has no BTF, so its events are unknown',
      where: { object: spec.name },
      next: 'compile it with clang -g',
    });
  }
  const draft: Draft = {
    btf,
    tracers: [],
    iterators: [],
    mapIterators: [],
    params: [],
    bufferMaps: [],
    iteratorTargets: [],
    socketTargets: [],
    variables: [],
    filtersByMntns: hasMap(spec, GADGET_NAMES.mntnsFilterMap) && hasVariable(spec, GADGET_NAMES.mntnsFilterSwitch),
    usesSockets: hasMap(spec, GADGET_NAMES.socketsMap),
    notices: [],
  };
  for (let id = btf.firstId; id < btf.typeCount; id++) {
    if (btf.kindOf(id) !== BTF_KIND.VAR) continue;
    const name = btf.nameOf(id);
    if (!name.startsWith('gadget_')) continue;
    if (name.startsWith('gadget_var_')) {
      const variable = spec.variables.find((candidate) => candidate.name === name);
      if (variable !== undefined) draft.variables.push(variable);
      continue;
    }
    const found = markers.find(([prefix]) => name.startsWith(prefix));
    if (found === undefined) continue;
    const why = whyNoMarker(btf, id);
    if (why !== null) draft.notices.push(`variable ${name} is taken for no declaration: ${why}`);
    else found[1](spec, draft, name.slice(found[0].length), name);
  }
  checkNames(draft);
  return draft;
}

/** Markers are global and point to const void, so that no other variable is taken for one. */
function whyNoMarker(btf: Btf, id: number): string | null {
  const variable = btf.type(id);
  if (variable.kind !== 'VAR') return 'it is no variable';
  if (variable.linkage !== BTF_LINKAGE.GLOBAL) return 'it is static';
  const pointer = btf.type(variable.typeId);
  if (pointer.kind !== 'PTR') return 'it is no const void pointer';
  const target = btf.type(pointer.typeId);
  return target.kind === 'CONST' && target.typeId === 0 ? null : 'it is no const void pointer';
}

function readTracer(spec: ObjectSpec, draft: Draft, rest: string, marker: string): void {
  const parts = rest.split('___');
  const [name, map, struct] = parts;
  if (parts.length !== 3 || !name || !map || !struct) declarationError(spec, marker, 'GADGET_TRACER(name, map, struct)');
  const mapSpec = mapOf(spec, map, marker);
  const { BPF_MAP_TYPE_RINGBUF, BPF_MAP_TYPE_PERF_EVENT_ARRAY } = BPF_MAP_TYPE;
  if (mapSpec.type !== BPF_MAP_TYPE_RINGBUF && mapSpec.type !== BPF_MAP_TYPE_PERF_EVENT_ARRAY) {
    throw new FormatError({
      code: 'E_GADGET_MAP',
      what: `tracer ${printable(name)} writes to a map that is no buffer`,
      where: { object: spec.name, map, type: mapSpec.type },
      next: 'declare it with GADGET_TRACER_MAP(name, size)',
    });
  }
  const typeId = structOf(spec, draft.btf, struct, marker);
  const lost = `${map}_lost_samples`;
  draft.tracers.push({ name, map, struct, typeId, lostMap: hasMap(spec, lost) ? lost : null });
}

function readBufferMap(spec: ObjectSpec, draft: Draft, rest: string, marker: string): void {
  draft.bufferMaps.push(mapOf(spec, rest, marker).name);
}

function readIterator(spec: ObjectSpec, draft: Draft, rest: string, marker: string): void {
  const [name, struct, ...programs] = rest.split('___');
  if (!name || !struct || programs.length === 0 || programs.includes('')) {
    declarationError(spec, marker, 'GADGET_ITER(name, struct, program...)');
  }
  const typeId = structOf(spec, draft.btf, struct, marker);
  for (const program of programs) programOf(spec, program, marker);
  draft.iterators.push({ name, struct, typeId, programs });
}

function readMapIterator(spec: ObjectSpec, draft: Draft, rest: string, marker: string): void {
  const parts = rest.split('___');
  const [name, map] = parts;
  if (parts.length !== 2 || !name || !map) declarationError(spec, marker, 'GADGET_MAPITER(name, map)');
  const mapSpec = mapOf(spec, map, marker);
  if (!hashes.has(mapSpec.type)) {
    throw new FormatError({
      code: 'E_GADGET_MAP',
      what: `map iterator ${printable(name)} needs a hash map`,
      where: { object: spec.name, map, type: mapSpec.type },
    });
  }
  const isStruct = (typeId: number): boolean => typeId !== 0 && resolveType(draft.btf, typeId).kind === 'STRUCT';
  if (!isStruct(mapSpec.keyTypeId) || !isStruct(mapSpec.valueTypeId)) {
    throw new FormatError({
      code: 'E_GADGET_MAP',
      what: `map iterator ${printable(name)} needs a map whose key and value are structs`,
      where: { object: spec.name, map },
      next: 'declare them with __type(key, struct ...) and __type(value, struct ...)',
    });
  }
  const lost = `${map}_lost_samples`;
  const lostMap = hasMap(spec, lost) ? lost : null;
  draft.mapIterators.push({
    name,
    map,
    keyTypeId: mapSpec.keyTypeId,
    valueTypeId: mapSpec.valueTypeId,
    lostMap,
    perCpu: perCpuHashes.has(mapSpec.type),
  });
}

function readParam(spec: ObjectSpec, draft: Draft, rest: string, marker: string): void {
  const variable = spec.variables.find((candidate) => candidate.name === rest);
  if (variable === undefined) {
    throw missing(
      'E_GADGET_PARAM',
      spec,
      marker,
      'variable',
      rest,
      spec.variables.map((candidate) => candidate.name),
      '',
    );
  }
  const map = spec.maps.find((candidate) => candidate.name === variable.map);
  if (map?.origin !== 'rodata' || map.data === null) {
    throw new FormatError({
      code: 'E_GADGET_PARAM',
      what: `parameter ${printable(rest)} is no constant`,
      where: { object: spec.name, variable: rest, section: variable.map },
      why: 'a value set before loading would not be seen by the verifier',
      next: 'declare it const volatile',
    });
  }
  draft.params.push({ variable });
}

function readTarget(spec: ObjectSpec, rest: string, marker: string): TargetMapDeclaration {
  const parts = rest.split('___');
  const [program, map] = parts;
  if (parts.length !== 2 || !program || !map) declarationError(spec, marker, 'a program and a map');
  programOf(spec, program, marker);
  return { program, map: mapOf(spec, map, marker).name };
}

/** Two sources of one name, or two tracers on one map, could not be told apart. */
function checkNames(draft: Draft): void {
  const names = new Set<string>();
  const maps = new Map<string, string>();
  for (const { name } of [...draft.tracers, ...draft.iterators, ...draft.mapIterators]) {
    if (names.has(name)) throw new FormatError({ code: 'E_GADGET_DECLARATION', what: 'two data sources have one name', where: { name } });
    names.add(name);
  }
  for (const { name, map } of draft.tracers) {
    const other = maps.get(map);
    if (other !== undefined) {
      throw new FormatError({
        code: 'E_GADGET_MAP',
        what: 'two tracers write to one map, so their events cannot be told apart',
        where: { map, tracers: `${other} and ${name}` },
        next: 'give each its own GADGET_TRACER_MAP',
      });
    }
    maps.set(map, name);
  }
}

function hasMap(spec: ObjectSpec, name: string): boolean {
  return spec.maps.some((map) => map.name === name);
}

function hasVariable(spec: ObjectSpec, name: string): boolean {
  return spec.variables.some((variable) => variable.name === name);
}

function mapOf(spec: ObjectSpec, name: string, marker: string): MapSpec {
  const map = spec.maps.find((candidate) => candidate.name === name);
  if (map !== undefined) return map;
  throw missing(
    'E_GADGET_MAP',
    spec,
    marker,
    'map',
    name,
    spec.maps.map((candidate) => candidate.name),
    'declare it in SEC(".maps")',
  );
}

function programOf(spec: ObjectSpec, name: string, marker: string): void {
  if (spec.programs.some((program) => program.name === name)) return;
  const names = spec.programs.map((program) => program.name);
  throw missing('E_GADGET_PROGRAM', spec, marker, 'program', name, names, '');
}

/** The struct with this tag, or the struct behind a typedef of this name. */
function structOf(spec: ObjectSpec, btf: Btf, name: string, marker: string): number {
  const struct = btf.findByName(name, 'STRUCT');
  if (struct !== null) return struct;
  const typedef = btf.findByName(name, 'TYPEDEF');
  if (typedef !== null && resolveType(btf, typedef).kind === 'STRUCT') return typedef;
  const names: string[] = [];
  for (let id = btf.firstId; id < btf.typeCount; id++) if (btf.kindOf(id) === BTF_KIND.STRUCT) names.push(btf.nameOf(id));
  throw missing('E_GADGET_EVENT', spec, marker, 'struct', name, names, 'the macro takes the name of a struct that the programs use');
}

function missing(
  code: string,
  spec: ObjectSpec,
  marker: string,
  kind: string,
  name: string,
  names: readonly string[],
  advice: string,
): FormatError {
  const next = [printable(didYouMean(name, names)), advice].filter((part) => part !== '').join(' ');
  return new FormatError({
    code,
    what: `the gadget names a ${kind} that is not there: ${printable(name)}`,
    where: { object: spec.name, declaration: marker },
    ...(next === '' ? {} : { next }),
  });
}

function declarationError(spec: ObjectSpec, marker: string, form: string): never {
  throw new FormatError({
    code: 'E_GADGET_DECLARATION',
    what: 'a gadget declaration has not the parts it needs',
    where: { object: spec.name, declaration: marker },
    why: `${form} is wanted, its parts joined by ___`,
  });
}
