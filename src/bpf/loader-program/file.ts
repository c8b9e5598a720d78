import { FormatError } from '../../error.ts';
import type { LoaderEntry, LoaderMap, LoaderProgram } from './make.ts';

/** What a loader's file says it is. */
const FORMAT = 'rawbpf loader 1';

/** A loader program out of a file. */
export interface LoaderFile {
  readonly loader: LoaderProgram;
  /** Null for one that is not signed. */
  readonly signature: Uint8Array | null;
  /** Null for one that is not signed, and in files of versions that made no such signature. */
  readonly dataSignature: Uint8Array | null;
}

/** A loader program as a text to keep: JSON, bytes in base64. */
export function encodeLoader({ loader, signature, dataSignature }: LoaderFile): string {
  const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
  const { insns, data, ...rest } = loader;
  const text = {
    format: FORMAT,
    ...rest,
    insns: base64(insns),
    data: base64(data),
    signature: signature === null ? null : base64(signature),
    dataSignature: dataSignature === null ? null : base64(dataSignature),
  };
  return `${JSON.stringify(text)}\n`;
}

/** Reads it back; throws FormatError `E_LOADER_FILE` for anything else. */
export function parseLoader(text: string): LoaderFile {
  const { fields } = new Fields(parseJson(text), 'the file');
  if (fields.get('format') !== FORMAT) throw malformed('format', `it is not ${JSON.stringify(FORMAT)}`);
  const top = new Fields(Object.fromEntries(fields), 'the file');
  const signature = fields.get('signature') === null ? null : top.bytes('signature');
  const dataSignature = (fields.get('dataSignature') ?? null) === null ? null : top.bytes('dataSignature');
  const contextSize = top.number('contextSize', 0xffff);
  const loader: LoaderProgram = {
    insns: top.bytes('insns'),
    data: top.bytes('data'),
    contextSize,
    maps: top.list('maps').map((one): LoaderMap => ({
      name: one.text('name'),
      libbpfName: one.text('libbpfName'),
      type: one.number('type'),
      keySize: one.number('keySize'),
      valueSize: one.number('valueSize'),
      maxEntries: one.number('maxEntries'),
      flags: one.number('flags'),
      fdSlot: one.number('fdSlot', contextSize - 4),
    })),
    programs: top.list('programs').map((one): LoaderEntry => ({
      name: one.text('name'),
      type: one.number('type'),
      expectedAttachType: one.number('expectedAttachType'),
      fdSlot: one.number('fdSlot', contextSize - 4),
    })),
    hashSlots: top.numbers('hashSlots'),
  };
  if (loader.insns.length === 0 || loader.insns.length % 8 !== 0) throw malformed('insns', 'they are no whole instructions');
  return { loader, signature, dataSignature };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new FormatError({ code: 'E_LOADER_FILE', what: 'not the file of a loader program', why: 'it is no JSON', cause });
  }
}

/** One object of the file, its fields checked as they are read. */
class Fields {
  readonly fields: ReadonlyMap<string, unknown>;

  constructor(value: unknown, what: string) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed(what, 'it is no object');
    this.fields = new Map(Object.entries(value));
  }

  text(name: string): string {
    const value = this.fields.get(name);
    if (typeof value !== 'string') throw malformed(name, 'it is no text');
    return value;
  }

  number(name: string, most = 0xffffffff): number {
    return checkedNumber(name, this.fields.get(name), most);
  }

  numbers(name: string): number[] {
    return this.#array(name).map((value) => checkedNumber(name, value, 0xffffffff));
  }

  bytes(name: string): Uint8Array {
    return new Uint8Array(Buffer.from(this.text(name), 'base64'));
  }

  list(name: string): Fields[] {
    return this.#array(name).map((value) => new Fields(value, name));
  }

  #array(name: string): readonly unknown[] {
    const value = this.fields.get(name);
    if (!Array.isArray(value)) throw malformed(name, 'it is no list');
    return value as readonly unknown[];
  }
}

function checkedNumber(name: string, value: unknown, most: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= most) return value;
  throw malformed(name, `it is no number of 0 to ${most}`);
}

function malformed(field: string, why: string): FormatError {
  return new FormatError({ code: 'E_LOADER_FILE', what: 'not the file of a loader program', where: { field }, why });
}
