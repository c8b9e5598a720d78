import type { BoolReader, NumberReader } from '../btf/value/index.ts';
import { bootNsOf, containerKeys, mntnsOf, netnsOf, tellContainers, tidOf, type ContainerKeys } from './container-keys.ts';
import type { ContainerFields, ContainerNames } from './context.ts';
import type { Field } from './field.ts';
import type { EventRecord } from './record.ts';
import type { Slot } from './slot.ts';
import type { SourceBuilder } from './source-builder.ts';

type Get<T> = (fields: ContainerFields) => T;

interface Row {
  readonly leaf: string;
  readonly value: Get<string> | Get<number> | Get<boolean>;
  readonly kind: 'text' | 'uint32' | 'bool';
  readonly template?: string;
  readonly about: string;
  /** Shown by columns where such names are worth showing. */
  readonly shown?: boolean;
}

const text = (leaf: string, value: Get<string>, about: string, more: Partial<Row> = {}): Row => ({
  leaf,
  value,
  kind: 'text',
  about,
  ...more,
});

const k8sRows: readonly Row[] = [
  text('node', ({ k8s }) => k8s.node, 'Name of the Kubernetes node', { template: 'node', shown: true }),
  text('namespace', ({ k8s }) => k8s.namespace, 'Kubernetes namespace of the pod', { template: 'namespace', shown: true }),
  text('podName', ({ k8s }) => k8s.podName, 'Name of the pod', { template: 'pod', shown: true }),
  text('containerName', ({ k8s }) => k8s.containerName, 'Name of the container in its pod', { template: 'container', shown: true }),
  {
    leaf: 'hostnetwork',
    value: ({ k8s }: ContainerFields) => k8s.hostnetwork,
    kind: 'bool',
    about: "Whether the pod uses the host's network",
  },
  text('podLabels', ({ k8s }) => k8s.podLabels, 'Labels of the pod'),
];
const ownerRows: readonly Row[] = [
  text('kind', ({ k8s }) => k8s.owner.kind, "Kind of the pod's owner"),
  text('name', ({ k8s }) => k8s.owner.name, "Name of the pod's owner"),
];
const runtimeRows: readonly Row[] = [
  text('runtimeName', ({ runtime }) => runtime.runtimeName, 'Name of the container runtime'),
  text('containerName', ({ runtime }) => runtime.containerName, 'Name of the container', { template: 'container', shown: true }),
  text('containerId', ({ runtime }) => runtime.containerId, 'ID of the container'),
  {
    leaf: 'containerPid',
    value: ({ runtime }: ContainerFields) => runtime.containerPid,
    kind: 'uint32',
    template: 'containerPid',
    about: 'First process of the container',
  },
  text('containerImageName', ({ runtime }) => runtime.containerImageName, 'Name of the image', { template: 'containerImageName' }),
  text('containerImageDigest', ({ runtime }) => runtime.containerImageDigest, 'Digest of the image', { template: 'containerImageDigest' }),
  text('containerStartedAt', ({ runtime }) => runtime.containerStartedAt, 'When the container was started', {
    template: 'containerStartedAt',
  }),
  text('innerContainerId', ({ runtime }) => runtime.innerContainerId, 'ID of the container within the container'),
];

/**
 * Adds `k8s.*` and `runtime.*` to the events that tell a mount or network namespace, in front of all other fields. Nothing
 * is added without names of containers.
 */
export function addContainerFields(builder: SourceBuilder): void {
  const names = builder.context.containers;
  if (names === undefined) return;
  const keys = containerKeys(builder.fields);
  if (!tellContainers(keys)) return;
  const find = new Lookup(names, keys);
  const from = builder.fields.length;
  const add = (rows: readonly Row[], parent: Field | null, shows: boolean): void => {
    for (const row of rows) {
      const field = builder.add({ leaf: row.leaf, parent, slot: slotOf(find, row), tags: [`name:${row.leaf}`] });
      if (field === null) continue;
      if (row.template !== undefined) field.suggestTemplate(row.template);
      field.suggest('columns.hidden', row.shown === true && shows ? 'false' : 'true').suggest('description', row.about);
    }
  };
  const group = (leaf: string, parent: Field | null = null): Field | null => builder.add({ leaf, parent, slot: null, tags: [] });
  const k8s = group('k8s');
  if (k8s !== null) {
    add(k8sRows, k8s, names.columns === 'kubernetes');
    const owner = group('owner', k8s);
    if (owner !== null) add(ownerRows, owner, false);
  }
  const runtime = group('runtime');
  if (runtime !== null) add(runtimeRows, runtime, names.columns === 'runtime');
  builder.lead(from);
}

/** The container of the event at hand; asked for once, though many fields want it. */
class Lookup {
  readonly #names: ContainerNames;
  readonly #keys: ContainerKeys;
  #mntns = -1;
  #netns = -1;
  #tid = -1;
  #time = -1;
  #version = -1;
  #found: ContainerFields | null = null;
  /** What all fields follow from; 0 without a container. */
  readonly serial = ({ view }: EventRecord, at: number): number => this.of(view, at)?.serial ?? 0;

  constructor(names: ContainerNames, keys: ContainerKeys) {
    this.#names = names;
    this.#keys = keys;
  }

  of(view: DataView, at: number): ContainerFields | null {
    const keys = this.#keys;
    const mntns = mntnsOf(keys, view, at);
    const netns = netnsOf(keys, view, at);
    const tid = mntns === 0 ? tidOf(keys, view, at) : 0;
    const time = bootNsOf(keys, view, at);
    const { version } = this.#names;
    if (mntns !== this.#mntns || netns !== this.#netns || tid !== this.#tid || time !== this.#time || version !== this.#version) {
      this.#mntns = mntns;
      this.#netns = netns;
      this.#tid = tid;
      this.#time = time;
      this.#version = version;
      this.#found = keys.mntns >= 0 ? this.#names.byMntns(mntns, tid, time) : null;
      if (this.#found === null && netns !== 0) this.#found = this.#names.byNetns(netns, time);
    }
    return this.#found;
  }
}

function slotOf(find: Lookup, { kind, value }: Row): Slot {
  if (kind === 'text') {
    const get = value as Get<string>;
    return {
      shape: 'text',
      repeats: true,
      key: find.serial,
      text({ view }, at) {
        const fields = find.of(view, at);
        return fields === null ? '' : get(fields);
      },
    };
  }
  return {
    shape: 'bits',
    kind,
    key: find.serial,
    reader: kind === 'bool' ? boolReader(find, value as Get<boolean>) : numberReader(find, value as Get<number>),
  };
}

function boolReader(find: Lookup, get: Get<boolean>): BoolReader {
  return {
    kind: 'bool',
    read(view, at) {
      const fields = find.of(view, at);
      return fields !== null && get(fields);
    },
  };
}

function numberReader(find: Lookup, get: Get<number>): NumberReader {
  return {
    kind: 'number',
    read(view, at) {
      const fields = find.of(view, at);
      return fields === null ? 0 : get(fields);
    },
  };
}
