import type { OwnerReference } from '../containers/names.ts';
import { at, text } from '../json.ts';
import type { KubernetesApi } from './api.ts';
import { KubernetesApiError } from './error.ts';
import { controllerOf, labelMap, uidOf, type PodObject } from './objects.ts';

/** Where controllers that are themselves controlled are asked for. */
const paths: ReadonlyMap<string, (namespace: string, name: string) => string> = new Map([
  ['ReplicaSet', (namespace, name) => `/apis/apps/v1/namespaces/${namespace}/replicasets/${name}`],
  ['Job', (namespace, name) => `/apis/batch/v1/namespaces/${namespace}/jobs/${name}`],
]);
/** Names of objects as Kubernetes allows them: they become part of a path. */
const plausible = /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/;
const maxKept = 10_000;
/** Only names are wanted, not what the object asks for. */
const metadataOnly = 'application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json';

/** The workloads that pods belong to: a ReplicaSet's Deployment, a Job's CronJob. Each controller is asked for once. */
export class Owners {
  readonly #api: KubernetesApi;
  readonly #signal: AbortSignal;
  readonly #notice: (message: string) => void;
  readonly #known = new Map<string, Promise<OwnerReference>>();
  /** Kinds that may not be asked for. */
  readonly #refused = new Set<string>();

  constructor(api: KubernetesApi, signal: AbortSignal, notice: (message: string) => void) {
    this.#api = api;
    this.#signal = signal;
    this.#notice = notice;
  }

  /** The outermost controller of a pod that can be found; empty texts for a pod of its own. */
  async of(pod: PodObject): Promise<OwnerReference> {
    const { owner, namespace } = pod;
    const path = paths.get(owner.kind);
    if (path === undefined || this.#refused.has(owner.kind) || !plausible.test(owner.name) || !plausible.test(namespace))
      return this.#guess(pod);
    // By uid: a controller that was made again under its name may belong to somebody else.
    const key = `${pod.ownerUid} ${owner.kind}/${namespace}/${owner.name}`;
    let answer = this.#known.get(key);
    if (answer === undefined) {
      answer = this.#ask(path(namespace, owner.name), pod, key);
      this.#known.set(key, answer);
      for (const oldest of this.#known.keys()) {
        if (this.#known.size <= maxKept) break;
        this.#known.delete(oldest);
      }
    }
    return await answer;
  }

  async #ask(path: string, pod: PodObject, key: string): Promise<OwnerReference> {
    try {
      const controller = await this.#api.get(path, this.#signal, metadataOnly, { idleMs: 2000 });
      if (text(at(controller, 'metadata', 'name')) !== pod.owner.name || uidOf(controller) !== pod.ownerUid) return this.#guess(pod);
      const above = controllerOf(controller);
      return above.kind === '' ? pod.owner : above;
    } catch (error) {
      this.#known.delete(key);
      if (error instanceof KubernetesApiError && error.status === 403 && !this.#refused.has(pod.owner.kind)) {
        this.#refused.add(pod.owner.kind);
        this.#notice(`Kubernetes refuses ${path.replace(/\/[^/]*$/, '')}: owners of pods are shown as pods name them (${error.message})`);
      }
      return this.#guess(pod);
    }
  }

  /** A Deployment's ReplicaSets are named after it and the hash that their pods bear as a label. */
  #guess(pod: PodObject): OwnerReference {
    const hash = labelMap(pod.labels).get('pod-template-hash');
    const tail = `-${hash ?? ''}`;
    if (pod.owner.kind !== 'ReplicaSet' || hash === undefined || !pod.owner.name.endsWith(tail)) return pod.owner;
    return { kind: 'Deployment', name: pod.owner.name.slice(0, -tail.length) };
  }
}
