import type { Btf } from '../btf/btf.ts';
import type { Collection } from '../bpf/collection/collection.ts';
import type { Kernel } from '../bpf/kernel/kernel.ts';
import type { BpfLink } from '../bpf/link/link.ts';
import type { BpfMap } from '../bpf/map/map.ts';
import type { Gadget } from './gadget.ts';
import type { EventRecord } from './record.ts';
import type { DataSource } from './data-source.ts';

/** What a part of a run changes in the gadget before it is loaded. */
export interface PartLoad {
  /** Maps that the gadget uses instead of its own, by name; they stay the part's. */
  readonly maps?: Readonly<Record<string, BpfMap>>;
  /** Value sizes that follow the layout in use, by map name, set before the shapes of replaced maps are compared. */
  readonly valueSizes?: Readonly<Record<string, number>>;
  /** Numbers of entries that the part's maps have, by map name, where they differ from what the gadget declares. */
  readonly mapSizes?: Readonly<Record<string, number>>;
  /** Values of global variables, by name. */
  readonly variables?: Readonly<Record<string, unknown>>;
  /** BTF whose types CO-RE relocations may resolve to, beside the kernel's. */
  readonly targetBtfs?: readonly Btf[];
  /** Programs that the part attaches itself instead of where their sections say, by name. */
  readonly attaches?: ReadonlySet<string>;
}

/** What a part says of an event: show it, leave it out, or keep a copy until more is known. */
export type Verdict = 'show' | 'drop' | 'hold';

/**
 * Something of the machine that is joined to a run: containers, sockets, network namespaces. It is prepared before the gadget
 * loads, attached with it, asked about events where it wants to be, and closed after everything of the gadget's is detached.
 */
export interface RunPart {
  /** Called once, before the gadget's programs are loaded. */
  prepare?(gadget: Gadget, kernel: Kernel): PartLoad;
  /** Attaches the programs that {@link PartLoad.attaches} named, and says how many; links given to `add` are closed with the run. */
  attach?(collection: Collection, add: (link: BpfLink) => void): number;
  /**
   * A question to be asked for every event of a source; null where none is needed. It must not allocate, nor call what
   * {@link RunPart.onRelease} gave. Where `last` is true an event cannot be held any longer: `hold` then means `drop`.
   */
  judge?(source: DataSource): ((record: EventRecord, last: boolean) => Verdict) | null;
  /** Told how to have held events judged again: called by the part when it knows more. Held events keep their order. */
  onRelease?(release: () => void): void;
  /** Told when a held event came (performance.now()) before it is judged again and shown, so that names are those of then; null afterwards. */
  asOf?(time: number | null): void;
  /** Called once, after the run has detached everything; harmless when repeated. */
  close(): void;
}
