import { resolveType, typeNamesOf, type ResolvedType } from '../btf/value/resolve.ts';
import { BTF_INT } from '../btf/types.ts';
import type { ObjectSpec, VariableSpec } from '../bpf/object/spec.ts';
import { didYouMean } from '../bytes/suggest.ts';
import { FormatError, UsageError } from '../error.ts';
import type { GadgetContract } from './contract.ts';
import type { GadgetMetadata } from './metadata.ts';
import { printable } from '../bytes/printable.ts';
import { compilePacketFilter } from './packet-filter/compile.ts';
import { packetFilterFunctions } from './packet-filter/splice.ts';
import { makeParamCodec, type ParamCodec } from './param-codec.ts';

/** A value for a parameter: text as on a command line, or a value of the parameter's own type. */
export type ParamValue = string | number | bigint | boolean;

/** What a parameter takes, as help shows it. */
export type ParamTypeHint =
  | 'bool'
  | 'int8'
  | 'int16'
  | 'int32'
  | 'int64'
  | 'uint8'
  | 'uint16'
  | 'uint32'
  | 'uint64'
  | 'int128'
  | 'uint128'
  | 'float32'
  | 'float64'
  | 'string'
  | 'ip'
  | 'enum';

/** A setting of a gadget that is fixed when it is loaded. */
export interface GadgetParam {
  /** Name of the flag, without dashes. */
  readonly key: string;
  /** Name of the C variable. */
  readonly variable: string;
  readonly typeHint: ParamTypeHint;
  /** What holds when it is not given, as text. */
  readonly defaultValue: string;
  readonly title: string;
  readonly description: string;
  /** One letter, '' where there is none. */
  readonly alias: string;
  readonly isMandatory: boolean;
  /** Values to choose from; empty where any of the type will do. */
  readonly possibleValues: readonly string[];
  /** Least and greatest number; null where it is none. */
  readonly range: readonly [least: string, greatest: string] | null;
  /** Most bytes of a text; null where it is none. */
  readonly maxBytes: number | null;
}

/** Variables of the shared headers and the flags that they are known by. */
const wellKnown: ReadonlyMap<string, { readonly key: string; readonly type: string; readonly description: string }> = new Map([
  ['targ_pid', { key: 'pid', type: 'gadget_pid', description: 'Show only events of the process with this ID' }],
  ['targ_tid', { key: 'tid', type: 'gadget_tid', description: 'Show only events of the thread with this ID' }],
  ['targ_uid', { key: 'uid', type: 'gadget_uid', description: 'Show only events of the user with this ID' }],
  ['targ_gid', { key: 'gid', type: 'gadget_gid', description: 'Show only events of the group with this ID' }],
  ['targ_comm', { key: 'comm', type: 'gadget_comm', description: 'Show only events of processes with this name' }],
  ['collect_ustack', { key: 'collect-ustack', type: 'bool', description: 'Collect user stacks' }],
  ['collect_build_id', { key: 'collect-build-id', type: 'bool', description: 'Collect build IDs with user stacks' }],
  ['collect_otel_stack', { key: 'collect-otel-stack', type: 'bool', description: 'Collect stacks for the OpenTelemetry profiler' }],
]);

interface Known {
  readonly param: GadgetParam;
  readonly codec: ParamCodec;
  readonly bytes: Uint8Array;
  /** As the object has them. */
  readonly original: Uint8Array;
  /** From gadget.yaml, where it differs from the object's own. */
  readonly presetValue: string | null;
}

/** The parameters of one gadget: what they are, and the way into the object. */
export class GadgetParams {
  readonly #known = new Map<string, Known>();
  /** Functions that take packet filters, by flag. */
  readonly #filterFunctions: ReadonlyMap<string, string>;
  #packetFilters: ReadonlyMap<string, string> = new Map();

  /**
   * Collects the parameters that the object declares, with their defaults out of `.rodata` and names and descriptions
   * from gadget.yaml.
   *
   * Throws FormatError `E_GADGET_PARAM` for a variable whose type cannot be set or whose default in gadget.yaml does not fit.
   */
  constructor(spec: ObjectSpec, contract: GadgetContract, metadata: GadgetMetadata) {
    for (const { variable } of contract.params) this.#add(spec, contract, metadata, variable);
    this.#filterFunctions = new Map([...packetFilterFunctions(spec)].filter(([key]) => !this.#known.has(key)));
  }

  /** All parameters, for help. */
  get list(): readonly GadgetParam[] {
    return [...[...this.#known.values()].map((known) => known.param), ...[...this.#filterFunctions].map(filterParam)];
  }

  /** Expressions given for packet filters, by the functions that are to ask them; as {@link apply} last had them. */
  get packetFilters(): ReadonlyMap<string, string> {
    return this.#packetFilters;
  }

  /** The parameter with this flag, null where there is none. */
  find(key: string): GadgetParam | null {
    const filter = this.#filterFunctions.get(key);
    return filter === undefined ? (this.#known.get(key)?.param ?? null) : filterParam([key, filter]);
  }

  /**
   * Writes values into the object's constants: those given, for others the default of gadget.yaml or the object's own.
   *
   * Throws UsageError `E_PARAM` that names the flag and what it takes: an unknown flag, a value of the wrong kind or out of range,
   * a text too long, a mandatory flag left out. Nothing is written then.
   */
  apply(values: ReadonlyMap<string, ParamValue> = new Map()): void {
    const writes: (() => void)[] = [];
    const filters = new Map<string, string>();
    for (const [key, value] of values) {
      const filter = this.#filterFunctions.get(key);
      if (filter !== undefined) {
        if (String(value).trim() === '') continue;
        compilePacketFilter(String(value));
        filters.set(filter, String(value));
        continue;
      }
      const known = this.#known.get(key);
      if (known === undefined) throw this.#unknown(key);
      writes.push(prepare(known, value));
    }
    for (const [key, known] of this.#known) {
      if (values.has(key)) continue;
      if (known.param.isMandatory) {
        throw new UsageError({
          code: 'E_PARAM',
          what: `--${printable(key)} must be given`,
          why: known.param.description || `it sets ${known.param.variable}`,
        });
      }
      if (known.presetValue !== null) writes.push(prepare(known, known.presetValue));
    }
    // A run before this one may have left its own.
    this.#packetFilters = filters;
    for (const { bytes, original } of this.#known.values()) bytes.set(original);
    for (const write of writes) write();
  }

  #unknown(key: string): UsageError {
    const keys = [...this.#known.keys(), ...this.#filterFunctions.keys()];
    const hint = printable(didYouMean(key, keys));
    const all = keys.map((known) => `--${printable(known)}`).join(', ');
    const next = hint !== '' ? hint : all === '' ? 'this gadget has no parameters' : `it has ${all}`;
    return new UsageError({ code: 'E_PARAM', what: `the gadget has no parameter --${printable(key)}`, next });
  }

  #add(spec: ObjectSpec, contract: GadgetContract, metadata: GadgetMetadata, variable: VariableSpec): void {
    const data = spec.maps.find((map) => map.name === variable.map)?.data ?? null;
    const type = resolveType(contract.btf, variable.typeId);
    const codec = makeParamCodec(contract.btf, variable.typeId);
    if (codec === null || data === null || variable.offset + variable.size > data.length || codec.size !== variable.size) {
      throw new FormatError({
        code: 'E_GADGET_PARAM',
        what: `parameter ${printable(variable.name)} has a type that cannot be set`,
        where: { object: spec.name, variable: variable.name, type: describeType(type) },
        why: 'integers, bool, floats, enums, char arrays and struct gadget_l3endpoint_t can',
      });
    }
    const bytes = data.subarray(variable.offset, variable.offset + variable.size);
    const about = metadata.params.get(variable.name);
    const shared = wellKnown.get(variable.name);
    const isShared =
      shared !== undefined &&
      (shared.type === 'bool' ? codec.typeHint === 'bool' : namesOf(contract, type, variable).includes(shared.type));
    const own = codec.format(bytes);
    const key = about?.key || (isShared && shared !== undefined ? shared.key : variable.name);
    const other = this.#known.get(key);
    if (other !== undefined) {
      throw new FormatError({
        code: 'E_GADGET_PARAM',
        what: `two parameters have the flag --${printable(key)}`,
        where: { object: spec.name, variables: `${other.param.variable} and ${variable.name}` },
      });
    }
    const preset = about?.defaultValue ?? null;
    const known: Known = {
      codec,
      bytes,
      original: bytes.slice(),
      presetValue: preset === null || preset === '' || preset === own ? null : preset,
      param: {
        key,
        variable: variable.name,
        typeHint: codec.typeHint,
        defaultValue: preset === null || preset === '' ? own : preset,
        title: about?.title ?? '',
        description: about?.description || (isShared ? (shared?.description ?? '') : ''),
        alias: about?.alias ?? '',
        isMandatory: about?.isMandatory ?? false,
        possibleValues: about !== undefined && about.possibleValues.length > 0 ? about.possibleValues : codec.possibleValues,
        range: codec.range,
        maxBytes: codec.maxBytes,
      },
    };
    if (known.presetValue !== null) checkPreset(spec, known);
    this.#known.set(key, known);
  }
}

/** The parameter of a function that takes a packet filter. */
function filterParam([key, variable]: readonly [key: string, name: string]): GadgetParam {
  return {
    key,
    variable,
    typeHint: 'string',
    defaultValue: '',
    title: '',
    description: 'Take only packets that match this expression of pcap-filter(7)',
    alias: '',
    isMandatory: false,
    possibleValues: [],
    range: null,
    maxBytes: null,
  };
}

/** Checks a value now, and gives what writes it. */
function prepare({ param, codec, bytes }: Known, value: ParamValue): () => void {
  const text = String(value);
  const fail = (why: string): never => {
    throw new UsageError({
      code: 'E_PARAM',
      what: `bad value for --${printable(param.key)}: ${text === '' ? 'nothing' : printable(text)}`,
      why,
    });
  };
  // Names in possibleValues that the author gave are the author's rule; an enum's are the codec's own.
  if (param.typeHint !== 'enum' && param.possibleValues.length > 0 && !param.possibleValues.includes(text)) {
    fail(`it takes ${param.possibleValues.join(', ')}`);
  }
  const encoded = codec.parse(text);
  if (typeof encoded === 'string') return fail(encoded);
  return () => bytes.set(encoded);
}

function checkPreset(spec: ObjectSpec, known: Known): void {
  const problem = known.codec.parse(known.presetValue ?? '');
  if (typeof problem !== 'string') return;
  throw new FormatError({
    code: 'E_GADGET_PARAM',
    what: `the defaultValue of ${printable(known.param.variable)} in gadget.yaml does not fit: ${printable(known.presetValue ?? '')}`,
    where: { object: spec.name, variable: known.param.variable },
    why: problem,
  });
}

/** Names of the variable's type, of an array those of its elements. */
function namesOf(contract: GadgetContract, type: ResolvedType, variable: VariableSpec): readonly string[] {
  return typeNamesOf(contract.btf, type.kind === 'ARRAY' ? type.typeId : variable.typeId);
}

function describeType(type: ResolvedType): string {
  if (type.kind === 'INT' && (type.encoding & BTF_INT.BOOL) !== 0) return 'bool';
  return type.name === '' ? type.kind : `${type.kind} ${type.name}`;
}

/** One parameter as a line of help: what it takes, what it means, and its default. */
export function describeParam(param: GadgetParam): { readonly flag: string; readonly text: string } {
  const takes =
    param.typeHint === 'bool'
      ? ''
      : ` ${param.possibleValues.length > 0 && param.possibleValues.length <= 8 ? param.possibleValues.join('|') : param.typeHint}`;
  const parts = [param.description || param.title || `sets ${param.variable}`];
  if (param.isMandatory) parts.push('(required)');
  else if (param.defaultValue !== '') parts.push(`(default ${param.defaultValue})`);
  return { flag: `${param.alias === '' ? '' : `-${param.alias}, `}--${param.key}${takes}`, text: parts.join(' ') };
}
