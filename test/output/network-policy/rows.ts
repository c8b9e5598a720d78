import { readFileSync } from 'node:fs';
import { openGadget, type Gadget } from '../../../src/gadget/gadget.ts';
import type { ContainerFields, ContainerNames, EndpointName } from '../../../src/gadget/context.ts';
import { parseMetadata } from '../../../src/gadget/metadata.ts';
import type { DataSource } from '../../../src/gadget/data-source.ts';
import { parseIp } from '../../../src/gadget/special/ip.ts';
import { fixedContext } from '../../gadget/fixture.ts';

const folder = new URL('../../../../gadgets/advise_networkpolicy/', import.meta.url);

/** A pod as a runtime tells it. */
export interface LocalPod {
  readonly name: string;
  readonly namespace: string;
  readonly labels: string;
  readonly owner?: string;
  readonly hostNetwork?: boolean;
}

/** Whom the events are of: pods by their network namespaces, and who has addresses. Both may be changed. */
export interface World {
  readonly pods: Map<number, LocalPod>;
  readonly addresses: Map<string, EndpointName>;
}

let serial = 0;

export function fieldsOf(pod: LocalPod): ContainerFields {
  const runtime = { runtimeName: 'containerd', containerName: 'c', containerId: 'x', containerPid: 1, containerImageName: '' };
  return {
    serial: ++serial,
    runtime: { ...runtime, containerImageDigest: '', containerStartedAt: '', innerContainerId: '' },
    k8s: {
      node: 'node-1',
      namespace: pod.namespace,
      podName: pod.name,
      containerName: 'c',
      podLabels: pod.labels,
      hostnetwork: pod.hostNetwork ?? false,
      owner: { kind: 'ReplicaSet', name: pod.owner ?? '' },
    },
  };
}

/** The built-in gadget with a world of names. */
export function openAdvisor({ pods, addresses }: World): { readonly gadget: Gadget; readonly source: DataSource } {
  const containers: ContainerNames = {
    columns: 'kubernetes',
    get version() {
      return pods.size;
    },
    byMntns: () => null,
    byNetns(inode) {
      const pod = pods.get(inode);
      return pod === undefined ? null : fieldsOf(pod);
    },
  };
  const yaml = new URL('gadget.yaml', folder);
  const gadget = openGadget({
    object: readFileSync(new URL('program.bpf.o', folder)),
    name: 'advise_networkpolicy',
    metadata: parseMetadata(readFileSync(yaml, 'utf8'), 'gadget.yaml'),
    context: { ...fixedContext, containers, endpoints: { endpoint: (address) => addresses.get(address) ?? null } },
  });
  const [source] = gadget.sources;
  if (source === undefined) throw new Error('the gadget has no data source');
  return { gadget, source };
}

/** A row as the program writes it. */
export interface Row {
  readonly netns: number;
  readonly egress: boolean;
  readonly address: string;
  readonly port: number;
  readonly proto?: number;
}

export function rowBytes(source: DataSource, { netns, egress, address, port, proto = 6 }: Row): Uint8Array {
  const bytes = new Uint8Array(source.size);
  const view = new DataView(bytes.buffer);
  const ip = parseIp(address) ?? new Uint8Array(0);
  // struct connection of the gadget's program: address, port, protocol, version; namespace; egress.
  bytes.set(ip, 0);
  view.setUint16(source.field('endpoint.port').offset, port, true);
  view.setUint16(source.field('endpoint.proto_raw').offset, proto, true);
  view.setUint8(source.field('endpoint.version').offset, ip.length === 4 ? 4 : 6);
  view.setUint32(source.field('netns_id').offset, netns, true);
  view.setUint8(source.field('egress').offset, Number(egress));
  return bytes;
}
