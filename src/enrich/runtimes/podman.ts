import type { NameEvent, NameQuery, RuntimeNames } from '../containers/names.ts';
import { namesOfEvent, orNull } from './docker.ts';
import { UnixHttp } from './http.ts';
import { at, elements, integer, member, text, texts } from '../json.ts';
import { podOfLabels } from './pod-labels.ts';
import { emptyNames, mapSome, SocketSource, type SourceOptions } from './source.ts';

/** podman, through the libpod API of `podman system service` (https://docs.podman.io/en/latest/_static/api.html). */
export class PodmanSource extends SocketSource {
  readonly name: string;
  readonly #http: UnixHttp;
  readonly #timeoutMs: number;

  constructor(socket: string, options: SourceOptions = {}) {
    super(socket, options);
    this.name = `podman at ${socket}`;
    this.#http = new UnixHttp(socket);
    this.#timeoutMs = options.timeoutMs ?? 1000;
  }

  override close(): void {
    super.close();
    this.#http.close();
  }

  protected override async find({ id, pid }: NameQuery): Promise<RuntimeNames | null> {
    if (id !== '') return await this.#inspect(id);
    const found = (await this.#running()).find((each) => integer(member(each, 'Pid')) === pid);
    return found === undefined ? null : await this.#inspect(text(member(found, 'Id')));
  }

  protected override async findAll(): Promise<readonly RuntimeNames[]> {
    return await mapSome(
      (await this.#running()).map((each) => text(member(each, 'Id'))).filter((id) => id !== ''),
      (id) => this.#inspect(id),
    );
  }

  protected override async follow(listener: (event: NameEvent) => void, signal: AbortSignal, opened: () => void): Promise<boolean> {
    const filters = encodeURIComponent(JSON.stringify({ type: ['container'] }));
    await this.#http.lines(
      `${base}/events?stream=true&filters=${filters}`,
      (line) => {
        const id = text(at(line, 'Actor', 'ID'));
        const action = text(member(line, 'Action')) || text(member(line, 'status'));
        if (id === '') return;
        if (action === 'remove') listener({ type: 'removed', id });
        else if (['create', 'init', 'start', 'rename'].includes(action)) {
          // With --rm the container may be gone when its event is read.
          const names = namesOfEvent(id, 'podman', texts(at(line, 'Actor', 'Attributes')));
          if (names.containerName !== '') listener({ type: 'names', id, names });
          void this.tell(id, listener);
        }
      },
      signal,
      opened,
    );
    return true;
  }

  async #running(): Promise<readonly unknown[]> {
    return elements(await this.#http.json(`${base}/containers/json`, { timeoutMs: this.#timeoutMs }));
  }

  async #inspect(id: string): Promise<RuntimeNames | null> {
    const path = `${base}/containers/${encodeURIComponent(id)}/json`;
    const container = await orNull(this.#http.json(path, { timeoutMs: this.#timeoutMs }));
    if (container === null || text(member(container, 'Id')) !== id) return null;
    const labels = texts(at(container, 'Config', 'Labels'));
    const startedAt = text(at(container, 'State', 'StartedAt'));
    return {
      ...emptyNames,
      containerId: id,
      runtimeName: 'podman',
      containerName: text(member(container, 'Name')),
      containerPid: integer(at(container, 'State', 'Pid')),
      containerImageName: text(member(container, 'ImageName')),
      containerImageDigest: text(member(container, 'ImageDigest')),
      containerStartedAt: startedAt.startsWith('0001-') ? '' : startedAt,
      k8s: podOfLabels(labels, labels, null),
      labels,
      // The infra container of a pod holds its namespaces.
      sandbox: member(container, 'IsInfra') === true,
    };
  }
}

/** Newer versions answer older paths. */
const base = '/v4.0.0/libpod';
