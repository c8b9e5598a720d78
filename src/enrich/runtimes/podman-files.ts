import { readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import type { NameQuery, NameSource, RuntimeNames } from '../containers/names.ts';
import { elements, member, parseJson, text, texts, type Json } from '../json.ts';
import { podOfLabels } from './pod-labels.ts';
import { emptyNames } from './source.ts';

/** Where root's podman keeps its files (containers-storage.conf(5)). */
export const podmanFolders = { graph: '/var/lib/containers/storage', run: '/run/containers/storage' } as const;

const maxSize = 32 * 1024 * 1024;

/** podman's own files: names where no service runs, for podman is no daemon. */
export class PodmanFiles implements NameSource {
  readonly name: string;
  readonly #containers: JsonFile;
  readonly #images: JsonFile;
  readonly #graph: string;
  readonly #run: string;

  /** `graph` and `run` are podman's --root and --runroot. */
  constructor(folders: { readonly graph: string; readonly run: string } = podmanFolders) {
    this.name = `podman's files in ${folders.graph}`;
    this.#graph = folders.graph;
    this.#run = folders.run;
    this.#containers = new JsonFile(path.join(folders.graph, 'overlay-containers/containers.json'));
    this.#images = new JsonFile(path.join(folders.graph, 'overlay-images/images.json'));
  }

  get present(): boolean {
    return this.#containers.exists;
  }

  lookup({ id, pid }: NameQuery): Promise<RuntimeNames | null> {
    const entry = elements(this.#containers.read()).find((each) => {
      const own = text(member(each, 'id'));
      return id === '' ? pid > 0 && this.#pid(own) === pid : own === id;
    });
    return Promise.resolve(entry === undefined ? null : this.#names(entry));
  }

  list(): Promise<readonly RuntimeNames[]> {
    const all = elements(this.#containers.read()).map((entry) => this.#names(entry));
    return Promise.resolve(all.filter((each) => each.containerId !== '' && each.containerPid > 0));
  }

  close(): void {
    // Nothing is held.
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #names(entry: Json): RuntimeNames {
    const id = text(member(entry, 'id'));
    // The name and what it was made from are JSON within JSON.
    const metadata = parseJson(text(member(entry, 'metadata')));
    const image = text(member(entry, 'image'));
    const imageEntry = elements(this.#images.read()).find((each) => image !== '' && text(member(each, 'id')) === image);
    const config = /^[0-9a-f]{64}$/.test(id)
      ? readJson(path.join(this.#graph, 'overlay-containers', id, 'userdata/config.json'))
      : undefined;
    const annotations = texts(member(config, 'annotations'));
    return {
      ...emptyNames,
      containerId: id,
      runtimeName: 'podman',
      containerName: text(member(metadata, 'name')) || text(elements(member(entry, 'names'))[0]),
      containerPid: this.#pid(id),
      containerImageName: text(member(metadata, 'image-name')) || text(elements(member(imageEntry, 'names'))[0]),
      containerImageDigest: text(member(imageEntry, 'digest')),
      k8s: podOfLabels(annotations, new Map(), null),
      sandbox: annotations.get('io.podman.annotations.infra') === 'true' || text(member(metadata, 'type')) === 'infra',
    };
  }

  #pid(id: string): number {
    if (!/^[0-9a-f]{64}$/.test(id)) return 0;
    const pid = Number(readSmall(path.join(this.#run, 'overlay-containers', id, 'userdata/pidfile')) ?? '0');
    return Number.isSafeInteger(pid) ? pid : 0;
  }
}

/** A file of JSON, parsed again when it changes. */
class JsonFile {
  readonly #path: string;
  #stamp = '';
  #value: Json;

  constructor(file: string) {
    this.#path = file;
  }

  get exists(): boolean {
    return this.#look() !== '';
  }

  read(): Json {
    const stamp = this.#look();
    if (stamp !== this.#stamp) {
      this.#stamp = stamp;
      this.#value = readJson(this.#path);
    }
    return this.#value;
  }

  #look(): string {
    try {
      const info = statSync(this.#path, { bigint: true });
      return `${info.mtimeNs}:${info.ino}:${info.size}`;
    } catch {
      return '';
    }
  }
}

function readJson(file: string): Json {
  const source = readSmall(file);
  return source === null ? undefined : parseJson(source);
}

function readSmall(file: string): string | null {
  try {
    return statSync(file).size > maxSize ? null : readFileSync(file, 'utf8').trim();
  } catch {
    return null;
  }
}
