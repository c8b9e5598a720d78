import type { NameEvent, NameQuery, RuntimeNames } from '../containers/names.ts';
import { RuntimeApiError } from './error.ts';
import { GRPC_STATUS, GrpcClient } from './grpc.ts';
import { at, member, parseJson, texts, type Json } from '../json.ts';
import { hostNetworkOf, podOfLabels } from './pod-labels.ts';
import { ProtoMessage, ProtoWriter } from './protobuf.ts';
import { emptyNames, mapSome, SmallCache, SocketSource, type SourceOptions } from './source.ts';

/** Services of containerd's API (github.com/containerd/containerd, api/services). */
const services = {
  namespaces: '/containerd.services.namespaces.v1.Namespaces',
  containers: '/containerd.services.containers.v1.Containers',
  tasks: '/containerd.services.tasks.v1.Tasks',
  images: '/containerd.services.images.v1.Images',
  events: '/containerd.services.events.v1.Events',
} as const;

/** Asked where the list of namespaces cannot be had. */
const usualNamespaces = ['k8s.io', 'moby', 'default'];

interface Sandbox {
  readonly labels: ReadonlyMap<string, string>;
  readonly hostnetwork: boolean | null;
}

/** containerd, through gRPC on its socket: what ctr, nerdctl and CRI run, and the processes of docker's containers. */
export class ContainerdSource extends SocketSource {
  readonly name: string;
  readonly #grpc: GrpcClient;
  /** Apart, so that a call that hangs does not end the stream. */
  readonly #events: GrpcClient;
  readonly #digests = new SmallCache<string>(1000);
  readonly #sandboxes = new SmallCache<Sandbox>(1000);
  #namespaces: readonly string[] = usualNamespaces;
  #namespacesUntil = 0;

  constructor(socket: string, options: SourceOptions = {}) {
    super(socket, options);
    this.name = `containerd at ${socket}`;
    this.#grpc = new GrpcClient(socket, options.timeoutMs ?? 1000);
    this.#events = new GrpcClient(socket);
  }

  override close(): void {
    super.close();
    this.#grpc.close();
    this.#events.close();
  }

  protected override async find({ id, pid, runtimeHint }: NameQuery): Promise<RuntimeNames | null> {
    const namespaces = await this.#listNamespaces();
    if (id === '') {
      for (const namespace of namespaces) {
        const task = (await this.#tasks(namespace)).find((each) => each.pid === pid);
        if (task !== undefined) return await this.#names(namespace, task.id, task.pid);
      }
      return null;
    }
    const likely = runtimeHint === 'docker' ? 'moby' : '';
    for (const namespace of namespaces.toSorted((a, b) => Number(b === likely) - Number(a === likely))) {
      const found = await this.#names(namespace, id, null);
      if (found !== null) return found;
    }
    return null;
  }

  protected override async findAll(): Promise<readonly RuntimeNames[]> {
    const all: RuntimeNames[] = [];
    for (const namespace of await this.#listNamespaces()) {
      all.push(...(await mapSome(await this.#tasks(namespace), ({ id, pid }) => this.#names(namespace, id, pid))));
    }
    return all;
  }

  protected override async follow(listener: (event: NameEvent) => void, signal: AbortSignal, opened: () => void): Promise<boolean> {
    const filters = ['topic=="/tasks/create"', 'topic=="/tasks/start"', 'topic~="/containers/"'];
    const request = filters.reduce((writer, filter) => writer.text(1, filter), new ProtoWriter()).finish();
    const onMessage = (bytes: Uint8Array): void => {
      opened();
      try {
        this.#take(new ProtoMessage(bytes), listener);
      } catch (error) {
        this.notice('event', `an event makes no sense: ${error instanceof Error ? error.message : String(error)}`);
      }
    };
    await this.#events.stream(`${services.events}/Subscribe`, request, onMessage, signal);
    return true;
  }

  /** An Envelope: namespace 2, topic 3, event 4 (an Any with the value in 2). */
  #take(envelope: ProtoMessage, listener: (event: NameEvent) => void): void {
    const namespace = envelope.text(2);
    const event = envelope.message(4).message(2);
    // Every event has the container's id in field 1.
    const id = event.text(1);
    if (id === '') return;
    switch (envelope.text(3)) {
      case '/tasks/create':
        void this.#tellTask(namespace, id, event.number(6), listener);
        return;
      case '/tasks/start':
        void this.#tellTask(namespace, id, event.number(2), listener);
        return;
      case '/containers/create':
        // Names of pods and of docker's containers are elsewhere; of others this is what is left of one that is gone at once.
        if (namespace !== 'k8s.io' && namespace !== 'moby') {
          const names = { ...emptyNames, containerId: id, runtimeName: 'containerd', containerName: id, containerImageName: event.text(2) };
          listener({ type: 'names', id, names });
        }
        // Before the first process: the only chance to learn about one that is removed as soon as it ends.
        void this.#tellTask(namespace, id, null, listener);
        return;
      case '/containers/update':
        void this.#tellTask(namespace, id, null, listener);
        return;
      case '/containers/delete':
        listener({ type: 'removed', id });
        return;
      default:
    }
  }

  async #tellTask(namespace: string, id: string, pid: number | null, listener: (event: NameEvent) => void): Promise<void> {
    try {
      const names = await this.#names(namespace, id, pid);
      if (names !== null) listener({ type: 'names', id, names });
    } catch {
      // It costs this name; a lookup may still find it.
    }
  }

  /** Null where that namespace has no such container. `pid` null: ask for it. */
  async #names(namespace: string, id: string, pid: number | null): Promise<RuntimeNames | null> {
    const container = await this.#container(namespace, id);
    if (container === null) return null;
    const labels = container.map(2);
    const spec = specOf(container);
    const annotations = texts(member(spec, 'annotations'));
    const image = annotations.get('io.kubernetes.cri.image-name') ?? container.text(3);
    const sandbox = labels.get('io.cri-containerd.kind') === 'sandbox' || annotations.get('io.kubernetes.cri.container-type') === 'sandbox';
    const sandboxId = annotations.get('io.kubernetes.cri.sandbox-id') ?? '';
    // A container of a pod joins its sandbox's network, whichever that is.
    const pod = sandbox || sandboxId === '' ? sandboxOf(container, spec) : await this.#sandbox(namespace, sandboxId);
    const k8s = podOfLabels(labels, pod?.labels ?? new Map(), pod?.hostnetwork ?? null);
    return {
      ...emptyNames,
      containerId: id,
      runtimeName: namespace === 'moby' ? 'docker' : 'containerd',
      // docker's names are told by docker alone.
      containerName: sandbox ? '' : k8s?.containerName || (labels.get('nerdctl/name') ?? (namespace === 'moby' ? '' : id)),
      containerPid: pid ?? (await this.#pid(namespace, id)),
      containerImageName: image,
      containerImageDigest: await this.#digest(namespace, image),
      k8s,
      // docker keeps its containers' labels to itself, and notes of its own here.
      labels: namespace === 'moby' ? new Map() : labels,
      sandbox,
    };
  }

  async #container(namespace: string, id: string): Promise<ProtoMessage | null> {
    const answer = await this.#maybe(namespace, `${services.containers}/Get`, new ProtoWriter().text(1, id));
    return answer === null ? null : answer.message(1);
  }

  async #sandbox(namespace: string, id: string): Promise<Sandbox | null> {
    return await this.#sandboxes.get(`${namespace}/${id}`, async () => {
      const container = await this.#container(namespace, id);
      return container === null ? null : sandboxOf(container, specOf(container));
    });
  }

  async #pid(namespace: string, id: string): Promise<number> {
    const answer = await this.#maybe(namespace, `${services.tasks}/Get`, new ProtoWriter().text(1, id));
    return answer?.message(1).number(3) ?? 0;
  }

  async #digest(namespace: string, image: string): Promise<string> {
    if (image === '') return '';
    return (
      (await this.#digests.get(`${namespace}/${image}`, async () => {
        const answer = await this.#maybe(namespace, `${services.images}/Get`, new ProtoWriter().text(1, image));
        return answer?.message(1).message(3).text(2) ?? null;
      })) ?? ''
    );
  }

  /** Of one namespace. containerd.v1.types.Process: id 2, pid 3. */
  async #tasks(namespace: string): Promise<readonly { readonly id: string; readonly pid: number }[]> {
    const answer = await this.#maybe(namespace, `${services.tasks}/List`, new ProtoWriter());
    return (answer?.messages(1) ?? [])
      .map((task) => ({ id: task.text(2) || task.text(1), pid: task.number(3) }))
      .filter(({ pid }) => pid > 0);
  }

  async #listNamespaces(): Promise<readonly string[]> {
    const now = performance.now();
    if (now < this.#namespacesUntil) return this.#namespaces;
    const answer = await this.#maybe('default', `${services.namespaces}/List`, new ProtoWriter());
    const found = answer?.messages(1).map((each) => each.text(1)) ?? [];
    this.#namespaces = found.length === 0 ? usualNamespaces : found;
    this.#namespacesUntil = now + 5000;
    return this.#namespaces;
  }

  /** The answer's message; null where the server knows no such thing. */
  async #maybe(namespace: string, method: string, request: ProtoWriter): Promise<ProtoMessage | null> {
    try {
      return new ProtoMessage(await this.#grpc.call(method, request.finish(), { 'containerd-namespace': namespace }));
    } catch (error) {
      if (error instanceof RuntimeApiError && error.status === GRPC_STATUS.NOT_FOUND) return null;
      throw error;
    }
  }
}

/** The OCI spec: an Any in field 5 whose value is JSON. */
function specOf(container: ProtoMessage): Json {
  return parseJson(container.message(5).text(2));
}

/** The labels that containerd keeps of a sandbox are the image's, too: what the pod was made with is in a note of its CRI plugin (field 10, by name). */
function sandboxOf(container: ProtoMessage, spec: Json): Sandbox {
  const note = container.messages(10).find((each) => each.text(1) === 'io.cri-containerd.sandbox.metadata');
  const asked =
    note === undefined ? new Map<string, string>() : texts(at(parseJson(note.message(2).text(2)), 'Metadata', 'Config', 'labels'));
  return { labels: asked.size > 0 ? asked : container.map(2), hostnetwork: hostNetworkOf(spec) };
}
