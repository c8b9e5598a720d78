import type { NameEvent, NameQuery, RuntimeNames } from '../containers/names.ts';
import { RuntimeApiError } from './error.ts';
import { UnixHttp } from './http.ts';
import { at, elements, integer, member, text, texts, type Json } from '../json.ts';
import { digestOf, podOfLabels } from './pod-labels.ts';
import { emptyNames, mapSome, SmallCache, SocketSource, type SourceOptions } from './source.ts';

/** docker, through the HTTP API on its socket (https://docs.docker.com/reference/api/engine). */
export class DockerSource extends SocketSource {
  readonly name: string;
  readonly #http: UnixHttp;
  readonly #timeoutMs: number;
  readonly #digests = new SmallCache<string>(1000);
  readonly #podLabels = new SmallCache<ReadonlyMap<string, string>>(1000);

  constructor(socket: string, options: SourceOptions = {}) {
    super(socket, options);
    this.name = `docker at ${socket}`;
    this.#http = new UnixHttp(socket);
    this.#timeoutMs = options.timeoutMs ?? 1000;
  }

  override close(): void {
    super.close();
    this.#http.close();
  }

  protected override async find({ id }: NameQuery): Promise<RuntimeNames | null> {
    return id === '' ? null : await this.#inspect(id);
  }

  protected override async findAll(): Promise<readonly RuntimeNames[]> {
    // Paths without a version get the daemon's own: docker 29 refuses those of old clients.
    const running = elements(await this.#ask('/containers/json?all=false'));
    return await mapSome(
      running.map((each) => text(member(each, 'Id'))).filter((id) => id !== ''),
      (id) => this.#inspect(id),
    );
  }

  protected override async follow(listener: (event: NameEvent) => void, signal: AbortSignal, opened: () => void): Promise<boolean> {
    const filters = encodeURIComponent(JSON.stringify({ type: ['container'], event: ['create', 'start', 'rename', 'destroy'] }));
    await this.#http.lines(
      `/events?filters=${filters}`,
      (line) => {
        const id = text(at(line, 'Actor', 'ID'));
        if (id === '') return;
        if (text(member(line, 'Action')) === 'destroy') listener({ type: 'removed', id });
        else {
          // While docker starts a container it answers no question about it: what the event says is there at once.
          const names = namesOfEvent(id, 'docker', texts(at(line, 'Actor', 'Attributes')));
          if (names.containerName !== '') listener({ type: 'names', id, names });
          void this.tell(id, listener);
        }
      },
      signal,
      opened,
    );
    return true;
  }

  async #inspect(id: string): Promise<RuntimeNames | null> {
    const container = await this.#askMaybe(`/containers/${encodeURIComponent(id)}/json`);
    // Prefixes and names are answered too.
    if (container === null || text(member(container, 'Id')) !== id) return null;
    const labels = texts(at(container, 'Config', 'Labels'));
    const sandboxId = labels.get('io.kubernetes.sandbox.id') ?? '';
    const podLabels = sandboxId === '' ? labels : await this.#labelsOf(sandboxId);
    const startedAt = text(at(container, 'State', 'StartedAt'));
    return {
      ...emptyNames,
      containerId: id,
      runtimeName: 'docker',
      containerName: text(member(container, 'Name')).replace(/^\//, ''),
      containerPid: integer(at(container, 'State', 'Pid')),
      containerImageName: text(at(container, 'Config', 'Image')),
      containerImageDigest:
        text(at(container, 'ImageManifestDescriptor', 'digest')) || (await this.#digest(text(member(container, 'Image')))),
      // The year 1: never started.
      containerStartedAt: startedAt.startsWith('0001-') ? '' : startedAt,
      k8s: podOfLabels(labels, podLabels, text(at(container, 'HostConfig', 'NetworkMode')) === 'host' ? true : null),
      labels,
      sandbox: labels.get('io.kubernetes.docker.type') === 'podsandbox',
    };
  }

  /** Of the manifest, as a registry knows it; empty for an image that came from none. */
  async #digest(image: string): Promise<string> {
    if (image === '') return '';
    const found = await this.#digests.get(image, async () => {
      const answer = await this.#askMaybe(`/images/${encodeURIComponent(image)}/json`);
      return answer === null ? null : digestOf(text(elements(member(answer, 'RepoDigests'))[0]));
    });
    return found ?? '';
  }

  async #labelsOf(sandbox: string): Promise<ReadonlyMap<string, string>> {
    const found = await this.#podLabels.get(sandbox, async () => {
      const container = await this.#askMaybe(`/containers/${encodeURIComponent(sandbox)}/json`);
      return container === null ? null : texts(at(container, 'Config', 'Labels'));
    });
    return found ?? new Map();
  }

  async #ask(path: string): Promise<Json> {
    return await this.#http.json(path, { timeoutMs: this.#timeoutMs });
  }

  async #askMaybe(path: string): Promise<Json> {
    return await orNull(this.#ask(path));
  }
}

/** What an event says of its container: the attributes are its labels, and its name and image among them. */
export function namesOfEvent(id: string, runtimeName: string, attributes: ReadonlyMap<string, string>): RuntimeNames {
  const labels = new Map([...attributes].filter(([key]) => !['name', 'image', 'containerExitCode', 'podId'].includes(key)));
  return {
    ...emptyNames,
    containerId: id,
    runtimeName,
    containerName: attributes.get('name') ?? '',
    containerImageName: attributes.get('image') ?? '',
    k8s: podOfLabels(labels, labels, null),
    labels,
    sandbox: labels.get('io.kubernetes.docker.type') === 'podsandbox',
  };
}

/** The answer; null for HTTP's 404: the server knows no such thing. */
export async function orNull(answer: Promise<Json>): Promise<Json> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof RuntimeApiError && error.status === 404) return null;
    throw error;
  }
}
