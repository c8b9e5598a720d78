import { at, elements, integer, member, text, texts, type Json } from '../json.ts';
import { parseIp, ip4Text, ip6Text } from '../../gadget/special/ip.ts';
import type { OwnerReference } from '../containers/names.ts';

/** What kind of thing has an address. */
export type EndpointKind = 'pod' | 'svc' | 'node';

/** An object with addresses, reduced to what names need: of the ten kilobytes of a pod a few hundred bytes. */
export interface NamedObject {
  readonly kind: EndpointKind;
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  /** `a=b,c=d`; neither keys nor values can hold commas or equals signs. */
  readonly labels: string;
  /** Of a service: which pods are behind it, as {@link labels}. */
  readonly selector: string;
  /** In canonical form; none for what has no address of its own. */
  readonly ips: readonly string[];
  /** Of a service, where they differ: the ports of the pods behind it, numbers or names, by its own as `80/TCP`. */
  readonly targetPorts?: ReadonlyMap<string, string>;
  /** Of several with one address the lowest counts. */
  readonly rank: number;
}

/** A pod, with what containers are named by. */
export interface PodObject extends NamedObject {
  readonly node: string;
  readonly hostNetwork: boolean;
  /** It has been given to a node, and will have an address of its own. */
  readonly waits: boolean;
  /** The controller as the pod names it; empty texts where it has none. */
  readonly owner: OwnerReference;
  /** Of that controller: another one may bear its name later. */
  readonly ownerUid: string;
}

const ranks = { pod: 0, terminatingPod: 1, svc: 2, node: 3, external: 4 } as const;

/** Null for what is no pod. */
export function podObject(value: Json): PodObject | null {
  const meta = metaOf(value);
  if (meta === null) return null;
  const terminating = text(at(value, 'metadata', 'deletionTimestamp')) !== '';
  const hostNetwork = at(value, 'spec', 'hostNetwork') === true;
  // The address of a pod that ended is given to another one long before the object is deleted.
  const free = hostNetwork || isFinished(value, terminating);
  const ips = free
    ? []
    : addresses([...elements(at(value, 'status', 'podIPs')).map((each) => member(each, 'ip')), at(value, 'status', 'podIP')]);
  const node = text(at(value, 'spec', 'nodeName'));
  const controller = controllerReference(value);
  return {
    ...meta,
    kind: 'pod',
    selector: '',
    ips,
    waits: !free && !terminating && ips.length === 0 && node !== '',
    rank: terminating ? ranks.terminatingPod : ranks.pod,
    node,
    hostNetwork,
    owner: ownerOf(controller),
    ownerUid: text(member(controller, 'uid')),
  };
}

/** A service; headless ones have no address of their own. */
export function serviceObject(value: Json): NamedObject | null {
  const meta = metaOf(value);
  if (meta === null) return null;
  const balancers = elements(at(value, 'status', 'loadBalancer', 'ingress')).map((each) => member(each, 'ip'));
  const own = [...elements(at(value, 'spec', 'clusterIPs')), at(value, 'spec', 'clusterIP'), ...elements(at(value, 'spec', 'externalIPs'))];
  const targetPorts = targetPortsOf(value);
  return {
    ...meta,
    ...(targetPorts.size === 0 ? {} : { targetPorts }),
    kind: 'svc',
    selector: labelText(texts(at(value, 'spec', 'selector'))),
    ips: addresses([...own, ...balancers]),
    rank: ranks.svc,
  };
}

function targetPortsOf(value: Json): ReadonlyMap<string, string> {
  const ports = new Map<string, string>();
  for (const each of elements(at(value, 'spec', 'ports'))) {
    const port = integer(member(each, 'port'));
    const target = member(each, 'targetPort');
    const to = text(target) || String(integer(target));
    if (port > 0 && to !== '0' && to !== String(port)) ports.set(`${port}/${text(member(each, 'protocol')) || 'TCP'}`, to);
  }
  return ports;
}

/** A node with the addresses that packets can have. */
export function nodeObject(value: Json): NamedObject | null {
  const meta = metaOf(value);
  if (meta === null) return null;
  const known = elements(at(value, 'status', 'addresses')).filter((each) => /^(?:Internal|External)IP$/.test(text(member(each, 'type'))));
  return { ...meta, kind: 'node', selector: '', ips: addresses(known.map((each) => member(each, 'address'))), rank: ranks.node };
}

/** Endpoints that are no pods: addresses that somebody wrote down for a service. They are called as the service. */
export function sliceObject(value: Json): NamedObject | null {
  const meta = metaOf(value);
  if (meta === null) return null;
  const service = text(at(value, 'metadata', 'labels', 'kubernetes.io/service-name'));
  if (service === '') return null;
  const foreign = elements(member(value, 'endpoints')).filter((each) => text(at(each, 'targetRef', 'kind')) === '');
  return {
    ...meta,
    name: service,
    labels: '',
    kind: 'svc',
    selector: '',
    ips: addresses(foreign.flatMap((each) => elements(member(each, 'addresses')))),
    rank: ranks.external,
  };
}

/** `uid` of any object; empty where it has none. */
export function uidOf(value: Json): string {
  return text(at(value, 'metadata', 'uid'));
}

/** Who controls an object: the reference marked so, else the first. */
export function controllerOf(value: Json): OwnerReference {
  return ownerOf(controllerReference(value));
}

function controllerReference(value: Json): Json {
  const references = elements(at(value, 'metadata', 'ownerReferences'));
  return references.find((each) => member(each, 'controller') === true) ?? references[0];
}

function ownerOf(reference: Json): OwnerReference {
  return { kind: text(member(reference, 'kind')), name: text(member(reference, 'name')) };
}

/** The canonical text of an address, IPv4-mapped ones as IPv4; null for what is none, such as the `None` of headless services. */
export function canonicalIp(address: string): string | null {
  const bytes = parseIp(address);
  if (bytes === null) return null;
  const found = bytes.length === 4 ? ip4Text(bytes, 0) : ip6Text(bytes, 0);
  return found.startsWith('::ffff:') && found.includes('.') ? found.slice('::ffff:'.length) : found;
}

/** `a=b,c=d` as a map. */
export function labelMap(labels: string): ReadonlyMap<string, string> {
  return new Map(
    labels === ''
      ? []
      : labels.split(',').map((each) => {
          const equals = each.indexOf('=');
          return [each.slice(0, equals), each.slice(equals + 1)] as const;
        }),
  );
}

function labelText(labels: ReadonlyMap<string, string>): string {
  return [...labels].map(([name, value]) => `${name}=${value}`).join(',');
}

function metaOf(value: Json): Pick<NamedObject, 'uid' | 'namespace' | 'name' | 'labels'> | null {
  const uid = uidOf(value);
  const name = text(at(value, 'metadata', 'name'));
  if (uid === '' || name === '') return null;
  return { uid, name, namespace: text(at(value, 'metadata', 'namespace')), labels: labelText(texts(at(value, 'metadata', 'labels'))) };
}

function isFinished(value: Json, terminating: boolean): boolean {
  const phase = text(at(value, 'status', 'phase'));
  if (phase === 'Succeeded' || phase === 'Failed') return true;
  // Before a deleted pod's object goes, its sandbox goes, and with it the address.
  const statuses = elements(at(value, 'status', 'containerStatuses'));
  return terminating && statuses.length > 0 && statuses.every((each) => at(each, 'state', 'terminated') !== undefined);
}

function addresses(values: readonly Json[]): readonly string[] {
  const found = new Set<string>();
  for (const value of values) {
    const address = canonicalIp(text(value));
    if (address !== null) found.add(address);
  }
  return found.size === 0 ? noAddresses : [...found];
}

const noAddresses: readonly string[] = [];
