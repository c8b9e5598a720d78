import { UsageError } from '../../error.ts';
import type { Container } from './container.ts';

/** Which containers are wanted: each part a list of which one has to fit; `!` before a word excludes. Absent: all. */
export interface ContainerSelection {
  /** Names; also ids, or their beginnings of at least 12 characters. */
  readonly containerName?: string;
  readonly runtime?: string;
  /** With or without tag, registry and digest. */
  readonly image?: string;
  readonly k8sNamespace?: string;
  readonly k8sPodName?: string;
  readonly k8sContainerName?: string;
  /** `a=b,c=d`: labels of the pod, or of the container; all have to fit. */
  readonly labels?: readonly string[];
}

type Test = (container: Container) => boolean;

/** Which containers' events are wanted. */
export class ContainerFilter {
  readonly #tests: readonly Test[];

  /** Throws UsageError `E_CONTAINER_FILTER` for a list that says nothing. */
  constructor(selection: ContainerSelection) {
    const tests: Test[] = [];
    const add = (flag: string, list: string | undefined, fits: (container: Container, word: string) => boolean): void => {
      if (list !== undefined) tests.push(listTest(flag, list, fits));
    };
    add('containername', selection.containerName, fitsName);
    add('runtime', selection.runtime, ({ runtime }, word) => sameRuntime(runtime, word));
    add(
      'image',
      selection.image,
      ({ names }, word) => names !== null && fitsImage(names.containerImageName, names.containerImageDigest, word),
    );
    add('k8s-namespace', selection.k8sNamespace, ({ names }, word) => names?.k8s?.namespace === word);
    add('k8s-podname', selection.k8sPodName, ({ names }, word) => names?.k8s?.podName === word);
    add('k8s-containername', selection.k8sContainerName, ({ names }, word) => names?.k8s?.containerName === word);
    for (const list of selection.labels ?? []) tests.push(...labelTests(list));
    this.#tests = tests;
  }

  /** Whether nothing is left out. */
  get all(): boolean {
    return this.#tests.length === 0;
  }

  matches(container: Container): boolean {
    return this.#tests.every((test) => test(container));
  }
}

/** `a,b,!c`: a or b, and not c. With exclusions alone everything else fits. */
function listTest(flag: string, list: string, fits: (container: Container, word: string) => boolean): Test {
  const words = list.split(',').map((word) => word.trim());
  if (words.some((word) => word === '' || word === '!')) throw nothing(flag, list);
  const wanted = words.filter((word) => !word.startsWith('!'));
  const unwanted = words.filter((word) => word.startsWith('!')).map((word) => word.slice(1));
  return (container) =>
    (wanted.length === 0 || wanted.some((word) => fits(container, word))) && !unwanted.some((word) => fits(container, word));
}

function nothing(flag: string, list: string): UsageError {
  return new UsageError({
    code: 'E_CONTAINER_FILTER',
    what: `--${flag} ${list} has an empty word`,
    next: 'write NAME[,NAME...], with ! before a name to exclude it',
  });
}

function fitsName({ id, names, runtime }: Container, word: string): boolean {
  if (names?.containerName === word || names?.k8s?.containerName === word || id === word) return true;
  // As runtimes take ids: cut short. A name of hex digits that is shorter may be anything.
  return runtime !== 'lxc' && /^[0-9a-f]{12,64}$/.test(word) && id.startsWith(word);
}

function sameRuntime(runtime: string, word: string): boolean {
  const plain = (name: string): string => name.toLowerCase().replace(/[^a-z]/g, '');
  return plain(runtime) === plain(word);
}

/** `busybox`, `busybox:1`, `docker.io/library/busybox:1`, `sha256:...`: as much as the word says has to fit. */
function fitsImage(name: string, digest: string, word: string): boolean {
  if (name === word || (digest !== '' && digest === word)) return true;
  const [path, tag] = splitImage(name);
  const [wantedPath, wantedTag] = splitImage(word);
  if (wantedTag !== '' && wantedTag !== (tag || 'latest')) return false;
  return path === wantedPath || path.endsWith(`/${wantedPath}`);
}

function splitImage(name: string): readonly [path: string, tag: string] {
  const plain = name.replace(/@.*$/, '');
  const colon = plain.lastIndexOf(':');
  // A colon before a slash is a registry's port.
  return colon > plain.lastIndexOf('/') ? [plain.slice(0, colon), plain.slice(colon + 1)] : [plain, ''];
}

function labelTests(list: string): readonly Test[] {
  return list.split(',').map((entry) => {
    const excluded = entry.startsWith('!');
    const [key = '', ...rest] = entry.slice(excluded ? 1 : 0).split('=');
    if (key === '' || rest.length === 0) {
      throw new UsageError({ code: 'E_CONTAINER_FILTER', what: `-l ${entry} is no label`, next: 'write KEY=VALUE' });
    }
    const value = rest.join('=');
    return ({ names }) => (names?.k8s?.podLabels.get(key) === value || names?.labels.get(key) === value) !== excluded;
  });
}
