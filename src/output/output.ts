import type { DataSource } from '../gadget/data-source.ts';
import type { Field } from '../gadget/field.ts';
import type { EventRecord } from '../gadget/record.ts';
import type { RecordList } from '../gadget/record-list.ts';
import { UsageError } from '../error.ts';
import { ByteWriter } from './byte-writer.ts';
import { ColumnsWriter } from './columns.ts';
import { JsonWriter } from './json.ts';
import { indentJson } from './json-layout.ts';
import { PolicyWriter } from './network-policy/writer.ts';
import { PcapngWriter } from './pcapng.ts';
import { selectFields } from './select.ts';
import { arrange, compileSorting, type Sorting } from './sort.ts';
import { YamlWriter } from './yaml.ts';

/** Forms that events can be written in. */
export const OUTPUT_MODES = ['columns', 'json', 'jsonpretty', 'yaml', 'pcap-ng', 'advise', 'none'] as const;
export type OutputMode = (typeof OUTPUT_MODES)[number];

/** Where output goes: `process.stdout` or anything with its two methods. */
export interface OutputTarget {
  /** Takes a chunk; false where the caller should wait for `drain` before the next. `done` is called once the chunk has gone out. */
  write(chunk: Uint8Array, done: (error?: Error | null) => void): boolean;
  once(event: 'drain', listener: () => void): unknown;
}

/** What {@link EventOutput} writes, and where. */
export interface OutputOptions {
  readonly mode: OutputMode;
  readonly sources: readonly DataSource[];
  readonly target: OutputTarget;
  /** Columns of the terminal, null where the target is none. */
  readonly width?: number | null;
  /** As for `--fields`: `a,b`, `+c`, `-d`, with `SOURCE:` before it where there are several sources, joined by `;`. Columns only. */
  readonly fields?: string | null;
  /** As for `--sort`: the order of what iterators and maps give, with sources as in `fields`. */
  readonly sort?: string | null;
  /** Most events shown of one fetch of an iterator or map. */
  readonly maxEntries?: number | null;
  /** What a network device of the host is called, by its index; `device N` unless given. For pcap-ng. */
  readonly deviceName?: (ifindex: number) => string;
}

/** Bytes that are gathered before they are written. */
const chunkSize = 32 * 1024;
/** Cursor to the first column of the first line, and everything erased (ECMA-48 CUP and ED). */
const clearScreen = '\u001b[H\u001b[2J';

/** Writes events in one form to one place, many at a time. */
export class EventOutput {
  readonly mode: OutputMode;
  readonly #target: OutputTarget;
  readonly #out = new ByteWriter();
  readonly #writers = new Map<DataSource, SourceWriter>();
  readonly #sortings: ReadonlyMap<DataSource, Sorting>;
  readonly #maxEntries: number;
  /** Sources that take the whole screen, where there is one. */
  readonly #clears: ReadonlySet<DataSource>;
  readonly #only: DataSource | null;
  #last: DataSource | null = null;
  #scheduled = false;
  #congested = false;
  /** Events in the writer, and those in chunks that the target has not written yet. */
  #gathered = 0;
  #underWay = 0;
  #waiting: (() => void)[] = [];

  constructor(options: OutputOptions) {
    this.mode = options.mode;
    this.#target = options.target;
    const fields = bySource(options.sources, options.fields ?? null, '--fields', selectFields);
    this.#sortings = bySource(options.sources, options.sort ?? null, '--sort', compileSorting);
    this.#maxEntries = options.maxEntries ?? Number.POSITIVE_INFINITY;
    const onScreen = options.mode === 'columns' && (options.width ?? null) !== null;
    this.#clears = new Set(
      onScreen ? options.sources.filter((source) => source.annotations.get('cli.clear-screen-before') === 'true') : [],
    );
    for (const source of options.sources) {
      this.#writers.set(source, makeWriter(options, source, fields.get(source) ?? null));
    }
    this.#only = options.sources.length === 1 ? (options.sources[0] ?? null) : null;
  }

  /** Writes what comes before events (the heads of columns), once it is certain that events can come. */
  open(): void {
    if (this.#only !== null && this.#last === null) this.#begin(this.#only);
  }

  /** Writes one event of a tracer. */
  event(source: DataSource, record: EventRecord): void {
    if (source !== this.#last) this.#begin(source);
    this.#gathered++;
    this.#writer(source).event(this.#out, record);
    this.#wrote();
  }

  /** Writes what one run of an iterator gave. */
  batch(source: DataSource, records: RecordList): void {
    if (this.#clears.has(source)) {
      putText(this.#out, clearScreen);
      this.#last = null;
    }
    if (source !== this.#last) this.#begin(source);
    const shown = arrange(records, this.#sortings.get(source) ?? null, this.#maxEntries);
    this.#gathered += shown.length;
    this.#writer(source).batch(this.#out, shown);
    this.#wrote();
  }

  /** Shares another terminal width among the columns. */
  resize(width: number | null): void {
    for (const writer of this.#writers.values()) writer.resize?.(width);
  }

  /** Whether the target asked for a pause: let readers wait for {@link drained}. */
  get congested(): boolean {
    return this.#congested;
  }

  /** Events that the target has not written: those it holds back, a chunk that is half out among them, and those not handed to it yet. */
  get unwritten(): number {
    return this.#gathered + this.#underWay;
  }

  /** Resolves when the target takes more. */
  drained(): Promise<void> {
    if (!this.#congested) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Writes what is told when no more events come, and hands everything to the target. */
  end(): void {
    for (const writer of this.#writers.values()) putText(this.#out, writer.end?.() ?? '');
    this.flush();
  }

  /** Hands everything written so far to the target. */
  flush(): void {
    this.#scheduled = false;
    if (this.#out.length === 0) return;
    const events = this.#gathered;
    this.#gathered = 0;
    this.#underWay += events;
    const done = (error?: Error | null): void => {
      if (error === undefined || error === null) this.#underWay -= events;
    };
    // A copy: the target may keep it until a slow reader takes it.
    if (this.#target.write(this.#out.take(), done) || this.#congested) return;
    this.#congested = true;
    this.#target.once('drain', () => {
      this.#congested = false;
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const resolve of waiting) resolve();
    });
  }

  #writer(source: DataSource): SourceWriter {
    const writer = this.#writers.get(source);
    if (writer === undefined)
      throw new UsageError({ code: 'E_OUTPUT_SOURCE', what: `the output was not made for the data source ${source.name}` });
    return writer;
  }

  #begin(source: DataSource): void {
    this.#last = source;
    const header = this.#writer(source).header;
    if (header === undefined) return;
    const head = header();
    if (typeof head === 'string') putText(this.#out, `${head}\n`);
    else putBytes(this.#out, head);
    this.#wrote();
  }

  #wrote(): void {
    if (this.#out.length >= chunkSize) this.flush();
    else if (!this.#scheduled && this.#out.length > 0) {
      this.#scheduled = true;
      // After the batch of events that is being read now, and before the loop waits again.
      setImmediate(() => {
        if (this.#scheduled) this.flush();
      });
    }
  }
}

/** Writes one data source. */
interface SourceWriter {
  /** A line of text, or bytes as they are. */
  readonly header?: () => string | Uint8Array;
  event(out: ByteWriter, record: EventRecord): void;
  batch(out: ByteWriter, records: Iterable<EventRecord>): void;
  readonly resize?: (width: number | null) => void;
  /** What comes after the last event. */
  readonly end?: () => string;
}

function makeWriter({ mode, width = null, deviceName }: OutputOptions, source: DataSource, fields: readonly Field[] | null): SourceWriter {
  switch (mode) {
    case 'columns':
      return columnsWriter(new ColumnsWriter(source, { width, ...(fields === null ? {} : { fields }) }));
    case 'json':
      return jsonWriter(source);
    case 'jsonpretty':
      return prettyWriter(source);
    case 'yaml':
      return yamlWriter(new YamlWriter(source));
    case 'pcap-ng':
      return pcapngWriter(new PcapngWriter(source, deviceName));
    case 'advise':
      return policyWriter(new PolicyWriter(source));
    default:
      return { event() {}, batch() {} };
  }
}

function columnsWriter(columns: ColumnsWriter): SourceWriter {
  const event = (out: ByteWriter, record: EventRecord): void => putText(out, `${columns.row(record)}\n`);
  return {
    header: () => columns.header(),
    event,
    batch(out, records) {
      for (const record of records) event(out, record);
    },
    resize: (width) => columns.resize(width),
  };
}

function jsonWriter(source: DataSource): SourceWriter {
  const line = new JsonWriter(source);
  const element = new JsonWriter(source, { end: '' });
  return {
    event: (out, record) => line.write(out, record),
    batch: (out, records) => putList(out, records, element, '\n'),
  };
}

function prettyWriter(source: DataSource): SourceWriter {
  const json = new JsonWriter(source, { end: '' });
  const scratch = new ByteWriter();
  return {
    event(out, record) {
      json.write(scratch, record);
      putText(out, `${indentJson(scratch.take().toString())}\n`);
    },
    batch(out, records) {
      putList(scratch, records, json, '');
      putText(out, `${indentJson(scratch.take().toString())}\n`);
    },
  };
}

function putList(out: ByteWriter, records: Iterable<EventRecord>, json: JsonWriter, end: string): void {
  let separator = '[';
  for (const record of records) {
    putText(out, separator);
    separator = ',';
    json.write(out, record);
  }
  putText(out, `${separator === '[' ? '[' : ''}]${end}`);
}

function yamlWriter(yaml: YamlWriter): SourceWriter {
  return {
    event: (out, record) => putText(out, yaml.document(record)),
    batch(out, records) {
      const items: string[] = [];
      for (const record of records) items.push(`- ${yaml.lines(record, '  ').join('\n').slice(2)}`);
      putText(out, `---\n${items.length === 0 ? '[]' : items.join('\n')}\n`);
    },
  };
}

function pcapngWriter(pcapng: PcapngWriter): SourceWriter {
  const event = (out: ByteWriter, record: EventRecord): void => putBytes(out, pcapng.packet(record));
  return {
    header: () => pcapng.header(),
    event,
    batch(out, records) {
      for (const record of records) event(out, record);
    },
  };
}

function policyWriter(policies: PolicyWriter): SourceWriter {
  return {
    event: (_, record) => policies.event(record),
    batch: (_, records) => policies.batch(records),
    end: () => policies.finish(),
  };
}

function putText(out: ByteWriter, text: string): void {
  putBytes(out, Buffer.from(text));
}

function putBytes(out: ByteWriter, bytes: Uint8Array): void {
  out.reserve = 0;
  out.ensure(bytes.length);
  out.literal(bytes);
}

/** What a list says for each source; a part without a source's name counts for all. */
function bySource<T>(
  sources: readonly DataSource[],
  text: string | null,
  flag: string,
  compile: (source: DataSource, part: string) => T,
): ReadonlyMap<DataSource, T> {
  const compiled = new Map<DataSource, T>();
  for (const part of (text ?? '').split(';')) {
    if (part.trim() === '') continue;
    const colon = part.indexOf(':');
    const name = colon < 0 ? null : part.slice(0, colon).trim();
    const wanted = name === null ? sources : sources.filter((source) => source.name === name);
    if (wanted.length === 0) {
      const names = sources.map((source) => source.name).join(', ');
      throw new UsageError({ code: 'E_FIELD', what: `${flag} names no data source of this gadget: ${name}`, next: `it has ${names}` });
    }
    for (const source of wanted) compiled.set(source, compile(source, part.slice(colon + 1)));
  }
  return compiled;
}
