import type { EndpointName, EndpointNames } from '../../gadget/context.ts';
import type { OwnerReference } from '../containers/names.ts';
import { at, elements, member, text } from '../json.ts';
import type { ClusterAccess } from './access.ts';
import { AwaitedAddresses } from './awaited.ts';
import { KubernetesApi } from './api.ts';
import { ListWatch, type ListWatchOptions } from './list-watch.ts';
import { canonicalIp, nodeObject, podObject, serviceObject, sliceObject, uidOf, type NamedObject, type PodObject } from './objects.ts';
import { Owners } from './owners.ts';
import { AddressBook, ObjectStore } from './state.ts';

/** After so long without a word from the server an address may be another pod's by now. */
const maxSilenceMs = 10_000;
/** Different texts kept for sharing. */
const maxInterned = 50_000;

/** The pods, services, endpoint slices and nodes of a cluster, followed as they change. */
export class Cluster implements EndpointNames {
  readonly #api: KubernetesApi;
  readonly #book = new AddressBook();
  readonly #interned = new Map<string, string>();
  readonly #pods: ObjectStore<PodObject>;
  readonly #stores: readonly ObjectStore<NamedObject>[];
  readonly #watches: readonly ListWatch[];
  readonly #podWatch: ListWatch;
  readonly #owners: Owners;
  readonly #abort = new AbortController();
  readonly #names = new WeakMap<NamedObject, EndpointName>();
  readonly #awaited = new AwaitedAddresses();
  readonly #onPods = new Set<() => void>();
  #asOf: number | null = null;

  /** Nothing is asked before {@link start}. */
  constructor(access: ClusterAccess, options: ListWatchOptions = {}) {
    this.#api = new KubernetesApi(access);
    const intern = (each: string): string => this.#intern(each);
    const store = <T extends NamedObject>(parse: (value: unknown) => T | null): ObjectStore<T> =>
      new ObjectStore(parse, uidOf, this.#book, intern);
    // Pods of one controller and of one node share their texts.
    const sharing = (value: unknown): PodObject | null => {
      const pod = podObject(value);
      if (pod === null) return null;
      const { kind, name } = pod.owner;
      return { ...pod, node: intern(pod.node), ownerUid: intern(pod.ownerUid), owner: { kind: intern(kind), name: intern(name) } };
    };
    this.#pods = new ObjectStore(sharing, uidOf, this.#book, intern, (uid, pod) => this.#podChanged(uid, pod));
    const services = store(serviceObject);
    const nodes = store(nodeObject);
    const slices = store(sliceObject);
    this.#stores = [services, nodes, slices];
    this.#podWatch = new ListWatch(this.#api, ['/api/v1/pods'], this.#pods, options);
    this.#watches = [
      this.#podWatch,
      new ListWatch(this.#api, ['/api/v1/services'], services, options),
      new ListWatch(this.#api, ['/api/v1/nodes'], nodes, options),
      // v1 since 1.21.
      new ListWatch(
        this.#api,
        ['/apis/discovery.k8s.io/v1/endpointslices', '/apis/discovery.k8s.io/v1beta1/endpointslices'],
        slices,
        options,
      ),
    ];
    this.#owners = new Owners(this.#api, this.#abort.signal, options.onNotice ?? ((): void => {}));
  }

  /** Begins to follow; resolves when everything is known, or cannot be: it does not wait for a server that is not there. */
  async start(): Promise<void> {
    await Promise.all(this.#watches.map((watch) => watch.start()));
  }

  /** Whether all kinds of objects have been listed. */
  get synced(): boolean {
    return this.#watches.every((watch) => watch.synced);
  }

  /** How many objects and addresses are known. */
  get counts(): { readonly pods: number; readonly others: number; readonly addresses: number } {
    return { pods: this.#pods.size, others: this.#stores.reduce((sum, store) => sum + store.size, 0), addresses: this.#book.size };
  }

  endpoint(address: string): EndpointName | null {
    // Without this a pod's address could be shown as that of one long gone.
    if (this.#podWatch.silentMs > maxSilenceMs) return null;
    const ip = address.startsWith('::ffff:') ? canonicalIp(address) : address;
    const holder = ip === null ? null : this.#asOf === null ? this.#book.holder(ip) : this.#book.holderAt(ip, this.#asOf);
    if (holder === null) return null;
    let name = this.#names.get(holder);
    if (name === undefined) {
      const { kind, namespace, labels, selector, targetPorts } = holder;
      name = { kind, name: holder.name, namespace, labels, selector, ...(targetPorts === undefined ? {} : { targetPorts }) };
      this.#names.set(holder, name);
    }
    return name;
  }

  /** Addresses are asked for as they were at a time of the last seconds (performance.now()); null: as they are. */
  asOf(time: number | null): void {
    this.#asOf = time;
  }

  /** Whether a pod has been given to a node, less than half a minute ago, whose address the server has not told yet. */
  get expectsPods(): boolean {
    return this.#awaited.any(performance.now());
  }

  /** Whether an address is nobody's and may be a new pod's within two seconds. */
  isAwaited(address: string): boolean {
    if (this.#podWatch.silentMs > maxSilenceMs || this.endpoint(address) !== null) return false;
    return this.#awaited.isAwaited(address, performance.now());
  }

  /** Has a function called when a pod that was expected has its address, or is gone; gives what ends that. */
  onPods(listener: () => void): () => void {
    this.#onPods.add(listener);
    return () => void this.#onPods.delete(listener);
  }

  /** By uid; null where it is not known. */
  pod(uid: string): PodObject | null {
    return uid === '' ? null : this.#pods.get(uid);
  }

  /** What the server shows of a pod that a kubelet runs by itself: it has another uid there. Null for any other pod, whose name may be another one's by now. */
  staticPod(namespace: string, name: string): PodObject | null {
    return this.#pods.find((each) => each.name === name && each.namespace === namespace && each.owner.kind === 'Node');
  }

  /** The workload that a pod belongs to. */
  async owner(pod: PodObject): Promise<OwnerReference> {
    return await this.#owners.of(pod);
  }

  /** The name of a container in a pod by the runtime's id; empty where the server does not know it (yet). Asks the server. */
  async containerName(pod: PodObject, id: string): Promise<string> {
    try {
      const path = `/api/v1/namespaces/${encodeURIComponent(pod.namespace)}/pods/${encodeURIComponent(pod.name)}`;
      const value = await this.#api.get(path, this.#abort.signal, 'application/json', { idleMs: 1000 });
      if (uidOf(value) !== pod.uid) return '';
      const statuses = ['containerStatuses', 'initContainerStatuses', 'ephemeralContainerStatuses'].flatMap((kind) =>
        elements(at(value, 'status', kind)),
      );
      // `containerd://ID`
      return text(
        member(
          statuses.find((each) => text(member(each, 'containerID')).endsWith(`://${id}`)),
          'name',
        ),
      );
    } catch {
      return '';
    }
  }

  close(): void {
    this.#abort.abort();
    for (const watch of this.#watches) watch.close();
    this.#api.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #podChanged(uid: string, pod: PodObject | null): void {
    if (this.#awaited.changed(uid, pod, performance.now())) for (const listener of this.#onPods) listener();
  }

  #intern(value: string): string {
    const known = this.#interned.get(value);
    if (known !== undefined) return known;
    if (this.#interned.size >= maxInterned) this.#interned.clear();
    this.#interned.set(value, value);
    return value;
  }
}
