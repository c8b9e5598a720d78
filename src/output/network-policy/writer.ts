import { UsageError } from '../../error.ts';
import type { DataSource } from '../../gadget/data-source.ts';
import type { Field } from '../../gadget/field.ts';
import type { EventRecord } from '../../gadget/record.ts';
import type { Connection, Peer } from './connection.ts';
import { advise } from './policy.ts';
import { policiesText } from './yaml.ts';

/** The annotation by which gadget.yaml says that events are connections. */
export const policyAnnotation = 'generate_networkpolicy.enable';

/** Milliseconds that names of a pod or an address are waited for: those of a new pod come about a second after its first packet. */
const patienceMs = 10_000;
/** Different connections without names that are kept: those beyond are taken as they are. */
const maxOpen = 65_536;

/** A connection whose pod or peer has no name yet, as it came. */
interface Open {
  readonly bytes: Uint8Array;
  readonly until: number;
}

/** Gathers the connections that a gadget shows, and writes policies that allow them. */
export class PolicyWriter {
  readonly #record: EventRecord;
  readonly #read: (record: EventRecord) => Connection | null;
  readonly #now: () => number;
  /** By their content: each counts once. */
  readonly #connections = new Map<string, Connection>();
  readonly #open = new Map<string, Open>();
  readonly #strangers = new Set<string>();

  /**
   * Throws UsageError `E_OUTPUT_ADVISE` for events that are no connections, or do not tell whose they are. `now` gives
   * milliseconds.
   */
  constructor(source: DataSource, now: () => number = Date.now) {
    this.#read = connectionReader(source);
    this.#record = source.makeRecord();
    this.#now = now;
  }

  event(record: EventRecord): void {
    this.#take(record, record.bytes.subarray(record.offset, record.offset + record.length), this.#now() + patienceMs);
  }

  batch(records: Iterable<EventRecord>): void {
    this.#reopen(false);
    for (const record of records) this.event(record);
  }

  /** The policies, and comments for what is in none. */
  finish(): string {
    this.#reopen(true);
    return policiesText(advise(this.#connections.values()), this.#strangers.size);
  }

  #take(record: EventRecord, bytes: Uint8Array, until: number): void {
    const connection = this.#read(record);
    const named = connection !== null && connection.peer.kind !== 'raw';
    if (!named && this.#now() < until && this.#open.size < maxOpen) {
      const key = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
      if (!this.#open.has(key)) this.#open.set(key, { bytes: Uint8Array.from(bytes), until });
    } else if (connection === null) this.#strangers.add(Buffer.from(bytes).toString('latin1'));
    else this.#connections.set(JSON.stringify(connection), connection);
  }

  /** Looks again at what had no name: there may be one by now. */
  #reopen(last: boolean): void {
    const open = Array.from(this.#open.values());
    this.#open.clear();
    for (const { bytes, until } of open) {
      this.#take(this.#record.point(new DataView(bytes.buffer), 0, bytes.length), bytes, last ? 0 : until);
    }
  }
}

/** Reads a connection out of an event; null where it is of no pod. */
function connectionReader(source: DataSource): (record: EventRecord) => Connection | null {
  const fail = (why: string, next: string): never => {
    throw new UsageError({
      code: 'E_OUTPUT_ADVISE',
      what: 'no policies can be made of these events',
      where: { 'data source': source.name },
      why,
      next,
    });
  };
  if (source.annotations.get(policyAnnotation) !== 'true')
    fail(`its annotation ${policyAnnotation} does not say that they are connections`, 'choose another output, such as -o json');
  const endpoint = source.fields.find(({ slot, tags }) => slot === null && tags.has('type:gadget_l4endpoint_t'))?.name ?? '';
  const need = (name: string): Field => source.find(name) ?? fail(`they have no ${name}`, 'choose another output, such as -o json');
  const text = (name: string): ((record: EventRecord) => string) => {
    const field = source.find(name);
    return (record) => field?.text(record) ?? '';
  };
  const egress = need('egress');
  const port = need(`${endpoint}.port`);
  const version = need(`${endpoint}.version`);
  const protocol = need(`${endpoint}.proto`);
  const address = need(`${endpoint}.addr`);
  if (source.find('k8s.podName') === null) fail('it is not known of which container they are', 'leave --no-containers out');
  const pod = { name: text('k8s.podName'), namespace: text('k8s.namespace'), labels: text('k8s.podLabels'), owner: text('k8s.owner.name') };
  const hostNetwork = text('k8s.hostnetwork');
  const peer = {
    kind: text(`${endpoint}.k8s.kind`),
    name: text(`${endpoint}.k8s.name`),
    namespace: text(`${endpoint}.k8s.namespace`),
    labels: text(`${endpoint}.k8s.labels`),
    selector: text(`${endpoint}.k8s.podSelector`),
  };
  const targetPort = text(`${endpoint}.k8s.targetPort`);
  return (record) => {
    const name = pod.name(record);
    // Policies are not about pods in their node's network.
    if (name === '' || hostNetwork(record) === 'true') return null;
    const asks = egress.number(record) !== 0;
    // What a service answers on port 80 its pods may answer on port 8080: policies are about pods.
    const target = asks ? targetPort(record) : '';
    return {
      pod: { name, namespace: pod.namespace(record), labels: pod.labels(record), owner: pod.owner(record) },
      egress: asks,
      peer: {
        kind: (peer.kind(record) || 'raw') as Peer['kind'],
        name: peer.name(record),
        namespace: peer.namespace(record),
        labels: peer.labels(record),
        selector: peer.selector(record),
        address: address.text(record),
        version: version.number(record),
      },
      port: target === '' ? port.number(record) : /^\d+$/.test(target) ? Number(target) : target,
      protocol: protocol.text(record),
    };
  };
}
