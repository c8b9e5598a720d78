import type { Btf } from '../btf/btf.ts';
import { membersOf } from '../btf/value/reader.ts';
import { resolveType, sizeOfType } from '../btf/value/resolve.ts';
import type { DataSource } from './data-source.ts';

/** Events of a data source that were shorter or longer than their struct. */
export interface Misfits {
  /** Name of the data source. */
  readonly source: string;
  /** Name of the events' struct. */
  readonly struct: string;
  readonly kind: 'short' | 'long';
  /** Bytes that an event has to have at least (`short`) or at most (`long`). */
  readonly expected: number;
  /** Bytes that the first of them had; with perf buffers up to seven more than the program gave, which the kernel adds. */
  readonly size: number;
  /** How many there were. */
  readonly events: number;
  /** The first field that the first of them has not, or not all of: it and those behind it read as zeros. Null of long ones. */
  readonly missing: string | null;
}

/**
 * Fewest bytes of a whole event: up to the end of the last member, or up to arrays of bytes at the end, of which programs send
 * only as much as there is.
 */
export function leastEventSize(btf: Btf, typeId: number): number {
  const struct = resolveType(btf, typeId);
  const places = membersOf(btf, struct)
    .map(({ type, typeId, place }) => {
      const bits = place.bitSize > 0 ? Math.ceil((place.bitOffset + place.bitSize) / 8) : null;
      const isBytes = type.kind === 'ARRAY' && sizeOfType(btf, type.typeId) === 1;
      return { offset: place.offset, end: place.offset + (bits ?? sizeOfType(btf, typeId)), isBytes };
    })
    .toSorted((a, b) => a.offset - b.offset);
  if (struct.kind === 'STRUCT') while (places.length > 1 && places.at(-1)?.isBytes === true) places.pop();
  return places.reduce((end, place) => Math.max(end, place.end), 0);
}

/** Counts events of one data source that do not have the size of their struct, and tells of the first of each kind. */
export class SizeCheck {
  readonly least: number;
  readonly most: number;
  readonly #source: DataSource;
  readonly #notice: (message: string) => void;
  #short: Misfits | null = null;
  #long: Misfits | null = null;
  #shorts = 0;
  #longs = 0;

  /** `padded`: the kernel fills events up so that they and their size (4 bytes) take a multiple of 8, as it does in perf buffers. */
  constructor(source: DataSource, padded: boolean, notice: (message: string) => void) {
    const { size, leastSize } = source;
    const takesMore = source.fields.some(({ slot }) => slot?.shape === 'rest');
    this.least = leastSize;
    this.most = takesMore ? Number.POSITIVE_INFINITY : padded ? Math.ceil((size + 4) / 8) * 8 - 4 : size;
    this.#source = source;
    this.#notice = notice;
  }

  /** Called for an event whose size is not from `least` to `most`; only the first of each kind makes an object. */
  count(size: number): void {
    if (size < this.least) {
      this.#shorts++;
      if (this.#short === null) this.#notice(misfitNotice((this.#short = this.#first('short', size))));
    } else {
      this.#longs++;
      if (this.#long === null) this.#notice(misfitNotice((this.#long = this.#first('long', size))));
    }
  }

  /** What was counted; nothing mostly. */
  get misfits(): readonly Misfits[] {
    return [
      ...(this.#short === null ? [] : [{ ...this.#short, events: this.#shorts }]),
      ...(this.#long === null ? [] : [{ ...this.#long, events: this.#longs }]),
    ];
  }

  #first(kind: 'short' | 'long', size: number): Misfits {
    const { name, structName, size: whole, fields } = this.#source;
    const missing = fields.find((field) => field.typeId !== 0 && field.parent === null && field.offset + field.size > size)?.name ?? null;
    return {
      source: name,
      struct: structName,
      kind,
      expected: kind === 'short' ? this.least : whole,
      size,
      events: 1,
      missing: kind === 'short' ? missing : null,
    };
  }
}

function misfitNotice({ source, struct, kind, expected, size, missing }: Misfits): string {
  return kind === 'short'
    ? `an event of ${source} has ${size} bytes, struct ${struct} has at least ${expected}: ${missing === null ? 'the rest' : `${missing} and what follows it`} is shown as zeros, and such events are counted`
    : `an event of ${source} has ${size} bytes, struct ${struct} has ${expected}: what follows is not shown, and such events are counted`;
}

/** As a sentence: `3 events of calls were shorter than struct call`. */
export function misfitsText({ source, struct, kind, events }: Misfits): string {
  return `${events === 1 ? '1 event' : `${events} events`} of ${source} ${events === 1 ? 'was' : 'were'} ${kind}er than struct ${struct}`;
}
