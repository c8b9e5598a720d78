import { isAlias, isMap, isScalar, LineCounter, parseDocument, type Document, type Node, type YAMLMap } from 'yaml';
import { FormatError } from '../error.ts';
import { yamlReason, yamlTooDeep } from '../bytes/yaml-depth.ts';
import { applyCustomParams, type CustomParam } from './custom-params.ts';
import type { SourceAnnotations } from './source-builder.ts';

/** What gadget.yaml says of one parameter. */
export interface ParamMetadata {
  /** Name of the flag. */
  readonly key: string;
  readonly defaultValue: string | null;
  readonly title: string;
  readonly description: string;
  /** One letter. */
  readonly alias: string;
  readonly isMandatory: boolean;
  readonly possibleValues: readonly string[];
  readonly tags: readonly string[];
}

/** What gadget.yaml says of one program. */
export interface ProgramMetadata {
  /** What to attach to instead of what the section says; `gadget_program_disabled` leaves it unattached. */
  readonly attachTo: string | null;
  /** For perf_event programs. */
  readonly perf: { readonly type: string; readonly config: string; readonly sampleType: string } | null;
  /** Samples per second, for perf_event programs. */
  readonly frequency: number | null;
  /** Variables of which at least one has to be true for the program to be loaded; loaded always where empty. */
  readonly enabledBy: readonly string[];
  /** Events between two samples, instead of a frequency. */
  readonly period: number | null;
}

/** A gadget.yaml: everything in it is optional. */
export interface GadgetMetadata {
  readonly name: string;
  readonly description: string;
  readonly homepageURL: string;
  readonly documentationURL: string;
  readonly sourceURL: string;
  readonly annotations: ReadonlyMap<string, string>;
  readonly datasources: ReadonlyMap<string, SourceAnnotations>;
  /** By name of the C variable. */
  readonly params: ReadonlyMap<string, ParamMetadata>;
  /** Parameters that change what the file says: `params.custom`. */
  readonly custom: readonly CustomParam[];
  /** By name of the program's function (for perf_event sections also: the section's name). */
  readonly programs: ReadonlyMap<string, ProgramMetadata>;
  /** Group of alternatives that a program belongs to, by program: the first of a group that loads and attaches wins. */
  readonly alternatives: ReadonlyMap<string, string>;
  /** Settings of `operator.NAME.KEY`, flattened. */
  readonly operators: ReadonlyMap<string, string>;
  /** Keys that mean nothing here, with their places. */
  readonly notices: readonly string[];
}

/** Metadata of a gadget that has no gadget.yaml. */
export const noMetadata: GadgetMetadata = {
  name: '',
  description: '',
  homepageURL: '',
  documentationURL: '',
  sourceURL: '',
  annotations: new Map(),
  datasources: new Map(),
  params: new Map(),
  custom: [],
  programs: new Map(),
  alternatives: new Map(),
  operators: new Map(),
  notices: [],
};

/**
 * Parses the text of a gadget.yaml. `custom` are values of its own parameters (`params.custom`), which change what it says.
 *
 * Throws FormatError `E_GADGET_YAML` with file, line and column (both from 1) for bad YAML and for values of the wrong kind;
 * unknown keys are told in `notices`.
 *
 * @example
 * import { parseMetadata } from 'rawbpf';
 * const metadata = parseMetadata('name: trace open\nparams:\n  ebpf:\n    targ_failed: { key: failed }\n', 'gadget.yaml');
 * console.log(metadata.name, metadata.params.get('targ_failed')?.key); // trace open failed
 */
export function parseMetadata(text: string, file: string, custom: ReadonlyMap<string, string> = new Map()): GadgetMetadata {
  const deep = yamlTooDeep(text);
  if (deep !== null) {
    throw new FormatError({
      code: 'E_GADGET_YAML',
      what: 'malformed gadget.yaml',
      where: { file, line: deep.line, column: 1 },
      why: deep.why,
    });
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  const reader = new YamlReader(document, lines, file);
  const [error] = document.errors;
  if (error !== undefined) throw reader.error(yamlReason(error), error.pos[0]);
  const [warning] = document.warnings;
  if (warning !== undefined) reader.notice(warning.message, warning.pos[0]);
  if (document.contents === null) return noMetadata;
  const params = applyCustomParams(document, custom, (why, node) => reader.error(why, startOf((node ?? null) as Node | null)));
  return { ...readRoot(reader, document.contents), custom: params };
}

function readRoot(reader: YamlReader, root: Node): Omit<GadgetMetadata, 'custom'> {
  const texts = new Map<string, string>();
  const datasources = new Map<string, SourceAnnotations>();
  const params = new Map<string, ParamMetadata>();
  const programs = new Map<string, ProgramMetadata>();
  const alternatives = new Map<string, string>();
  const operators = new Map<string, string>();
  let annotations: ReadonlyMap<string, string> = new Map();
  reader.entries(root, 'gadget.yaml', {
    ...Object.fromEntries(
      ['name', 'description', 'homepageURL', 'documentationURL', 'sourceURL'].map((key) => [
        key,
        (node: Node | null) => texts.set(key, reader.text(node, key)),
      ]),
    ),
    annotations: (node) => (annotations = reader.texts(node, 'annotations')),
    datasources: (node) =>
      reader.each(node, 'datasources', (name, source) => datasources.set(name, readSource(reader, source, `datasources.${name}`))),
    params: (node) =>
      reader.entries(node, 'params', {
        ebpf: (group) =>
          reader.each(group, 'params.ebpf', (name, param) => params.set(name, readParam(reader, param, `params.ebpf.${name}`))),
        wasm: (_, at) => reader.notice('params.wasm is ignored: WASM modules are not run', at),
        // Merged before all else.
        custom: () => {},
      }),
    // The older spelling of params.ebpf.
    ebpfParams: (node) =>
      reader.each(node, 'ebpfParams', (name, param) => params.set(name, readParam(reader, param, `ebpfParams.${name}`))),
    programs: (node) =>
      reader.each(node, 'programs', (name, program) =>
        programs.set(name, readProgram(reader, program, `programs.${name}`, name, alternatives)),
      ),
    operator: (node) => flattenTexts(reader, node, '', operators),
  });
  const text = (key: string): string => texts.get(key) ?? '';
  return {
    name: text('name'),
    description: text('description'),
    homepageURL: text('homepageURL'),
    documentationURL: text('documentationURL'),
    sourceURL: text('sourceURL'),
    annotations,
    datasources,
    params,
    programs,
    alternatives,
    operators,
    notices: reader.notices,
  };
}

function readSource(reader: YamlReader, node: Node | null, path: string): SourceAnnotations {
  let annotations: ReadonlyMap<string, string> = new Map();
  const fields = new Map<string, ReadonlyMap<string, string>>();
  reader.entries(node, path, {
    annotations: (part) => (annotations = reader.texts(part, `${path}.annotations`)),
    fields: (part) =>
      reader.each(part, `${path}.fields`, (name, field) => {
        reader.entries(field, `${path}.fields.${name}`, {
          annotations: (list) => fields.set(name, reader.texts(list, `${path}.fields.${name}.annotations`)),
        });
      }),
  });
  return { annotations, fields };
}

function readParam(reader: YamlReader, node: Node | null, path: string): ParamMetadata {
  const texts = new Map<string, string>();
  let isMandatory = false;
  let possibleValues: readonly string[] = [];
  let tags: readonly string[] = [];
  const text = (key: string): [string, EntryReader] => [key, (value) => texts.set(key, reader.text(value, `${path}.${key}`))];
  reader.entries(node, path, {
    ...Object.fromEntries(
      ['key', 'defaultValue', 'title', 'description', 'alias', 'type', 'valueHint', 'typeHint', 'alternativeKey'].map(text),
    ),
    isMandatory: (value) => (isMandatory = reader.text(value, `${path}.isMandatory`) === 'true'),
    possibleValues: (value) => (possibleValues = reader.list(value, `${path}.possibleValues`)),
    oneOf: (value) => (possibleValues = reader.list(value, `${path}.oneOf`)),
    tags: (value) => (tags = reader.list(value, `${path}.tags`)),
  });
  return {
    key: texts.get('key') ?? '',
    defaultValue: texts.get('defaultValue') ?? null,
    title: texts.get('title') ?? '',
    description: texts.get('description') ?? '',
    alias: texts.get('alias') ?? '',
    isMandatory,
    possibleValues,
    tags,
  };
}

function readProgram(
  reader: YamlReader,
  node: Node | null,
  path: string,
  name: string,
  alternatives: Map<string, string>,
): ProgramMetadata {
  let attachTo: string | null = null;
  let frequency: number | null = null;
  let period: number | null = null;
  let enabledBy: readonly string[] = [];
  let perf: ProgramMetadata['perf'] = null;
  reader.entries(node, path, {
    attach_to: (value) => (attachTo = reader.text(value, `${path}.attach_to`)),
    enabledBy: (value) => (enabledBy = reader.list(value, `${path}.enabledBy`)),
    alternativeOf: (value) => alternatives.set(name, reader.text(value, `${path}.alternativeOf`)),
    sampler: (value) =>
      reader.entries(value, `${path}.sampler`, {
        frequency: (part) => (frequency = reader.number(part, `${path}.sampler.frequency`)),
        period: (part) => (period = reader.number(part, `${path}.sampler.period`)),
      }),
    perf: (value) => {
      const parts = reader.texts(value, `${path}.perf`);
      perf = { type: parts.get('type') ?? '', config: parts.get('config') ?? '', sampleType: parts.get('sampleType') ?? '' };
    },
  });
  return { attachTo, perf, frequency, period, enabledBy };
}

function flattenTexts(reader: YamlReader, node: Node | null, prefix: string, into: Map<string, string>, depth = 0): void {
  reader.each(node, `operator${prefix === '' ? '' : `.${prefix}`}`, (name, value) => {
    const path = prefix === '' ? name : `${prefix}.${name}`;
    // Aliases of aliases could make more settings than fit in memory.
    if (into.size > 1000) throw reader.error('there are more than 1000 operator settings', startOf(value));
    if (isMap(value) && depth < 8) flattenTexts(reader, value, path, into, depth + 1);
    else into.set(path, reader.text(value, `operator.${path}`));
  });
}

type EntryReader = (node: Node | null, at: number) => unknown;

/** Walks the nodes of a YAML document and says where something is wrong. */
class YamlReader {
  readonly notices: string[] = [];
  readonly #document: Document.Parsed;
  readonly #lines: LineCounter;
  readonly #file: string;

  constructor(document: Document.Parsed, lines: LineCounter, file: string) {
    this.#document = document;
    this.#lines = lines;
    this.#file = file;
  }

  error(why: string, at: number): FormatError {
    const { line, col } = this.#lines.linePos(at);
    return new FormatError({ code: 'E_GADGET_YAML', what: 'malformed gadget.yaml', where: { file: this.#file, line, column: col }, why });
  }

  notice(what: string, at: number): void {
    const { line, col } = this.#lines.linePos(at);
    this.notices.push(`${this.#file}:${line}:${col}: ${what}`);
  }

  /** Calls the reader of each known key; others become notices. Keys are compared in any case, as other tools do. */
  entries(node: Node | null, path: string, readers: Readonly<Record<string, EntryReader>>): void {
    const known = new Map(Object.entries(readers).map(([name, read]) => [name.toLowerCase(), read]));
    this.each(node, path, (name, value, at) => {
      const read = known.get(name.toLowerCase());
      if (read === undefined) this.notice(`unknown key ${path === 'gadget.yaml' ? name : `${path}.${name}`}`, at);
      else read(value, at);
    });
  }

  each(node: Node | null, path: string, read: (name: string, value: Node | null, at: number) => void): void {
    const resolved = this.#resolve(node);
    if (resolved === null || (isScalar(resolved) && resolved.value === null)) return;
    if (!isMap(resolved)) throw this.error(`${path} must be a mapping`, startOf(resolved));
    for (const pair of (resolved as YAMLMap<Node, Node | null>).items) {
      const key = this.#resolve(pair.key);
      if (!isScalar(key)) throw this.error(`a key of ${path} is no text`, startOf(key));
      read(String(key.value), this.#resolve(pair.value), startOf(key));
    }
  }

  /** Text, or a number or boolean as it is written. */
  text(node: Node | null, path: string): string {
    const resolved = this.#resolve(node);
    if (resolved === null) return '';
    if (!isScalar(resolved)) throw this.error(`${path} must be text`, startOf(resolved));
    if (resolved.value === null) return '';
    const { value } = resolved;
    if (typeof value === 'number') return resolved.source ?? String(value);
    if (typeof value === 'string' || typeof value === 'boolean' || typeof value === 'bigint') return String(value);
    throw this.error(`${path} must be text`, startOf(resolved));
  }

  number(node: Node | null, path: string): number {
    const value = Number(this.text(node, path));
    if (!Number.isFinite(value)) throw this.error(`${path} must be a number`, startOf(node));
    return value;
  }

  texts(node: Node | null, path: string): ReadonlyMap<string, string> {
    const texts = new Map<string, string>();
    this.each(node, path, (name, value) => texts.set(name, this.text(value, `${path}.${name}`)));
    return texts;
  }

  list(node: Node | null, path: string): readonly string[] {
    const resolved = this.#resolve(node);
    if (resolved === null) return [];
    if (isScalar(resolved))
      return this.text(resolved, path)
        .split(',')
        .map((part) => part.trim());
    if (!('items' in resolved) || isMap(resolved)) throw this.error(`${path} must be a list`, startOf(resolved));
    return (resolved.items as readonly Node[]).map((item) => this.text(item, path));
  }

  /** Aliases stand for what they were made of. */
  #resolve(node: Node | null): Node | null {
    if (node === null || node === undefined) return null;
    if (!isAlias(node)) return node;
    const resolved = node.resolve(this.#document);
    if (resolved === undefined) throw this.error(`there is no anchor &${node.source}`, startOf(node));
    return resolved;
  }
}

function startOf(node: Node | null): number {
  return node?.range?.[0] ?? 0;
}
