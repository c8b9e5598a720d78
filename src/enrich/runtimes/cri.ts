import type { NameEvent, NameQuery, RuntimeNames } from '../containers/names.ts';
import { RuntimeApiError } from './error.ts';
import { GRPC_STATUS, GrpcClient } from './grpc.ts';
import { at, integer, member, parseJson, text, type Json } from '../json.ts';
import { digestOf, podOfLabels } from './pod-labels.ts';
import { ProtoMessage, ProtoWriter } from './protobuf.ts';
import { emptyNames, mapSome, SmallCache, SocketSource, type SourceOptions } from './source.ts';

const service = '/runtime.v1.RuntimeService';
/** runtime.v1.NamespaceMode: the node's own. */
const NODE = 2;
/** runtime.v1.ContainerState: running. */
const RUNNING = 1;
/** runtime.v1.ContainerEventType. */
const CONTAINER_DELETED = 3;

const maxTold = 10_000;

interface Sandbox {
  readonly labels: ReadonlyMap<string, string>;
  readonly hostnetwork: boolean;
  readonly pid: number;
}

/** Anything that serves Kubernetes' Container Runtime Interface v1: CRI-O, containerd, cri-dockerd. */
export class CriSource extends SocketSource {
  readonly name: string;
  readonly #runtimeName: string;
  readonly #grpc: GrpcClient;
  readonly #events: GrpcClient;
  readonly #sandboxes = new SmallCache<Sandbox>(1000);
  /** Containers that an event has told of. */
  readonly #told = new Set<string>();

  /** `runtimeName` is how events call it: `cri-o`, `containerd`, `docker`. */
  constructor(socket: string, runtimeName: string, options: SourceOptions = {}) {
    super(socket, options);
    this.name = `${runtimeName}'s CRI at ${socket}`;
    this.#runtimeName = runtimeName;
    this.#grpc = new GrpcClient(socket, options.timeoutMs ?? 1000);
    this.#events = new GrpcClient(socket);
  }

  override close(): void {
    super.close();
    this.#grpc.close();
    this.#events.close();
  }

  protected override async find({ id }: NameQuery): Promise<RuntimeNames | null> {
    if (id === '') return null;
    return (await this.#container(id)) ?? (await this.#sandboxNames(id));
  }

  protected override async findAll(): Promise<readonly RuntimeNames[]> {
    const [containers, sandboxes] = await Promise.all([
      this.#ask('ListContainers', new ProtoWriter()),
      this.#ask('ListPodSandbox', new ProtoWriter()),
    ]);
    const running = (containers?.messages(1) ?? []).filter((each) => each.number(6) === RUNNING).map((each) => each.text(1));
    // runtime.v1.PodSandboxState: 0 is ready.
    const ready = (sandboxes?.messages(1) ?? []).filter((each) => each.number(3) === 0).map((each) => each.text(1));
    return [...(await mapSome(running, (id) => this.#container(id))), ...(await mapSome(ready, (id) => this.#sandboxNames(id)))];
  }

  protected override async follow(listener: (event: NameEvent) => void, signal: AbortSignal, opened: () => void): Promise<boolean> {
    const onMessage = (bytes: Uint8Array): void => {
      opened();
      try {
        const event = new ProtoMessage(bytes);
        const id = event.text(1);
        if (id === '') return;
        if (event.number(2) === CONTAINER_DELETED) {
          this.#sandboxes.delete(id);
          listener({ type: 'removed', id });
        } else if (!this.#tellEvent(event, id, listener)) void this.tell(id, listener);
      } catch (error) {
        this.notice('event', `an event makes no sense: ${error instanceof Error ? error.message : String(error)}`);
      }
    };
    try {
      await this.#events.stream(`${service}/GetContainerEvents`, new ProtoWriter().finish(), onMessage, signal);
      return true;
    } catch (error) {
      // containerd before 2.0; CRI-O tells events only where it was configured to.
      if (error instanceof RuntimeApiError && error.status === GRPC_STATUS.UNIMPLEMENTED) return false;
      throw error;
    }
  }

  /**
   * ContainerEventResponse: the sandbox's status 4, those of all its containers 5. A container may be gone when its event is read, and an
   * event may be missing: this is what is left of it then. False where the event does not say.
   */
  #tellEvent(event: ProtoMessage, id: string, listener: (event: NameEvent) => void): boolean {
    const sandbox = sandboxOf(event.message(4), 0);
    let told = false;
    for (const status of event.messages(5)) {
      const each = status.text(1);
      if (each !== id && this.#told.has(each)) continue;
      const names = this.#namesOf(status, undefined, sandbox);
      if (each === '' || names.containerName === '') continue;
      told ||= each === id;
      this.#told.add(each);
      listener({ type: 'names', id: each, names });
    }
    if (this.#told.size > maxTold) this.#told.clear();
    // Its process is in no event.
    if (told) void this.tell(id, listener);
    return told;
  }

  /** ContainerStatusResponse: status 1, info 2, whose "info" is JSON in text. */
  async #container(id: string): Promise<RuntimeNames | null> {
    const answer = await this.#ask('ContainerStatus', new ProtoWriter().text(1, id).number(2, 1));
    if (answer === null) return null;
    const status = answer.message(1);
    if (status.text(1) !== id) return null;
    const info = parseJson(answer.map(2).get('info') ?? '');
    const sandboxId = text(member(info, 'sandboxID'));
    return this.#namesOf(status, info, sandboxId === '' ? null : await this.#sandbox(sandboxId));
  }

  /** runtime.v1.ContainerStatus, and what a runtime adds to it. */
  #namesOf(status: ProtoMessage, info: Json, sandbox: Sandbox | null): RuntimeNames {
    const labels = status.map(12);
    const k8s = podOfLabels(labels, sandbox?.labels ?? new Map(), sandbox?.hostnetwork ?? null);
    return {
      ...emptyNames,
      containerId: status.text(1),
      runtimeName: this.#runtimeName,
      containerName: k8s?.containerName || status.message(2).text(1),
      containerPid: integer(member(info, 'pid')),
      containerImageName: imageName(at(info, 'runtimeSpec', 'annotations'), status.message(8).text(1)),
      containerImageDigest: digestOf(status.text(9)),
      containerStartedAt: rfc3339(status.bigint(5)),
      k8s,
      labels,
      sandbox: false,
    };
  }

  async #sandboxNames(id: string): Promise<RuntimeNames | null> {
    const sandbox = await this.#sandbox(id);
    if (sandbox === null) return null;
    const k8s = podOfLabels(sandbox.labels, sandbox.labels, sandbox.hostnetwork);
    return {
      ...emptyNames,
      containerId: id,
      runtimeName: this.#runtimeName,
      containerPid: sandbox.pid,
      k8s,
      labels: sandbox.labels,
      sandbox: true,
    };
  }

  /** PodSandboxStatusResponse: status 1, info 2. */
  async #sandbox(id: string): Promise<Sandbox | null> {
    return await this.#sandboxes.get(id, async () => {
      const answer = await this.#ask('PodSandboxStatus', new ProtoWriter().text(1, id).number(2, 1));
      if (answer === null) return null;
      return sandboxOf(answer.message(1), integer(member(parseJson(answer.map(2).get('info') ?? ''), 'pid')));
    });
  }

  async #ask(method: string, request: ProtoWriter): Promise<ProtoMessage | null> {
    try {
      return new ProtoMessage(await this.#grpc.call(`${service}/${method}`, request.finish()));
    } catch (error) {
      if (error instanceof RuntimeApiError && error.status === GRPC_STATUS.NOT_FOUND) return null;
      throw error;
    }
  }
}

/** runtime.v1.PodSandboxStatus: linux 6 (namespaces 1, options 2, network 1) and labels 7. */
function sandboxOf(status: ProtoMessage, pid: number): Sandbox {
  return { labels: status.map(7), hostnetwork: status.message(6).message(1).message(2).number(1) === NODE, pid };
}

/**
 * What the pod asked for, which may be an image's id where a kubelet asks. CRI-O's ImageName is some name of that image, perhaps
 * another than the pod's (internal/annotations of CRI-O): it is better than an id alone.
 */
function imageName(annotations: Json, said: string): string {
  const [asked, some] = ['Image', 'ImageName'].map((name) => text(member(annotations, `io.kubernetes.cri-o.${name}`)));
  return [asked, said, some].find((name) => name !== undefined && name !== '' && !/^(?:sha256:)?[0-9a-f]{64}$/.test(name)) ?? said;
}

/** Nanoseconds since 1970 as text; empty for 0: never started. */
function rfc3339(nanoseconds: bigint): string {
  const seconds = BigInt.asIntN(64, nanoseconds) / 1_000_000_000n;
  if (seconds <= 0n || seconds > 253_402_300_799n) return '';
  const rest = String(nanoseconds % 1_000_000_000n).padStart(9, '0');
  return `${new Date(Number(seconds) * 1000).toISOString().slice(0, 19)}.${rest}Z`;
}
