import type { DataSource } from './data-source.ts';
import type { RunPart, Verdict } from './part.ts';
import type { EventRecord } from './record.ts';

export type Judge = (record: EventRecord, last: boolean) => Verdict;

/** What all parts of a run together say of a source's events; null where none has anything to say. */
export function judgeOf(parts: readonly RunPart[], source: DataSource): Judge | null {
  const judges = parts.flatMap((part) => part.judge?.(source) ?? []);
  const [first] = judges;
  if (first === undefined) return null;
  if (judges.length === 1) return first;
  return (record, last) => {
    let verdict: Verdict = 'show';
    for (const judge of judges) {
      const one = judge(record, last);
      if (one === 'drop') return 'drop';
      if (one === 'hold') verdict = 'hold';
    }
    return verdict;
  };
}

/** Where held events of one source belong. */
export interface Lane {
  readonly source: DataSource;
  readonly judge: Judge | null;
  readonly deliver: (record: EventRecord) => void;
}

interface Held {
  readonly lane: Lane;
  readonly view: DataView;
  /** When it came, as performance.now() gives it. */
  readonly came: number;
}

/** Bytes that a held event costs beside its own. */
const overhead = 160;

/**
 * Copies of events of which it is not known yet whether they are wanted, or whose they are; and of those that came after
 * them, so that the order stays. Where there are more than it may keep, the oldest are decided as things are.
 */
export class HeldEvents {
  readonly #maxBytes: number;
  readonly #asOf: (time: number | null) => void;
  readonly #records = new Map<DataSource, EventRecord>();
  #queue: Held[] = [];
  #head = 0;
  #bytes = 0;
  /** A judge is asked: what it finds out must not move the queue under the event that it is asked about. */
  #judging = false;

  /** `asOf` is told when an event came before it is judged and delivered, and null afterwards. */
  constructor(maxBytes: number, asOf: (time: number | null) => void = () => {}) {
    this.#asOf = asOf;
    this.#maxBytes = maxBytes;
  }

  get length(): number {
    return this.#queue.length - this.#head;
  }

  get bytes(): number {
    return this.#bytes;
  }

  push(lane: Lane, view: DataView, offset: number, length: number): void {
    const copy = new Uint8Array(length);
    copy.set(new Uint8Array(view.buffer, view.byteOffset + offset, length));
    this.#queue.push({ lane, view: new DataView(copy.buffer), came: performance.now() });
    this.#bytes += length + overhead;
    while (this.#bytes > this.#maxBytes && this.length > 0) this.#next(true);
  }

  /** Delivers and drops from the oldest on, up to the first that still has to be held; all where `last` is true. */
  release(last = false): void {
    if (this.#judging) return;
    while (this.length > 0 && this.#next(last));
  }

  #ask(judge: Judge, record: EventRecord, last: boolean): Verdict {
    this.#judging = true;
    try {
      return judge(record, last);
    } finally {
      this.#judging = false;
    }
  }

  /** Decides the oldest; false where it has to be held still. */
  #next(last: boolean): boolean {
    const held = this.#queue[this.#head] as Held;
    this.#asOf(held.came);
    try {
      return this.#decide(held, last);
    } finally {
      this.#asOf(null);
    }
  }

  #decide({ lane, view }: Held, last: boolean): boolean {
    let record = this.#records.get(lane.source);
    if (record === undefined) {
      record = lane.source.makeRecord();
      this.#records.set(lane.source, record);
    }
    record.point(view, 0, view.byteLength);
    const verdict = lane.judge === null ? 'show' : this.#ask(lane.judge, record, last);
    if (verdict === 'hold' && !last) return false;
    this.#head++;
    this.#bytes -= view.byteLength + overhead;
    if (this.#head === this.#queue.length) {
      this.#queue = [];
      this.#head = 0;
    } else if (this.#head >= 1024 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
    if (verdict === 'show') lane.deliver(record);
    return true;
  }
}
