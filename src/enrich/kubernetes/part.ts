import type { DataSource } from '../../gadget/data-source.ts';
import type { RunPart, Verdict } from '../../gadget/part.ts';
import type { EventRecord } from '../../gadget/record.ts';
import type { Cluster } from './cluster.ts';

/** How often held events are looked at again when the cluster is silent. */
const lookMs = 250;

/** Holds events with an address that may be a new pod's until its name is known, two seconds at most: see docs/kubernetes.md. */
export class EndpointPart implements RunPart {
  readonly #cluster: Cluster;
  #off: (() => void) | null = null;
  #timer: NodeJS.Timeout | null = null;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  judge(source: DataSource): ((record: EventRecord, last: boolean) => Verdict) | null {
    const addresses = source.fields.filter((field) => field.tags.has('name:addr') && field.parent !== null);
    if (addresses.length === 0) return null;
    const cluster = this.#cluster;
    return (record, last) => {
      // Most of the time no pod is new, and nothing is read.
      if (last || !cluster.expectsPods) return 'show';
      for (const address of addresses) if (cluster.isAwaited(address.text(record, record.offset))) return 'hold';
      return 'show';
    };
  }

  onRelease(release: () => void): void {
    this.#off = this.#cluster.onPods(release);
    this.#timer = setInterval(release, lookMs);
    this.#timer.unref();
  }

  asOf(time: number | null): void {
    this.#cluster.asOf(time);
  }

  close(): void {
    this.#cluster.asOf(null);
    this.#off?.();
    this.#off = null;
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
