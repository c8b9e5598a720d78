/** What the path of a cgroup tells of the container in it. */
export interface CgroupContainer {
  /** The runtime's id of the container. */
  readonly id: string;
  /** `docker`, `containerd`, `podman`, `cri-o`, `lxc`, `systemd-nspawn`; empty where the path fits several. */
  readonly runtime: string;
  /** In Kubernetes' form, with dashes; empty for a container that is no part of a pod. */
  readonly podUid: string;
  /** The part of the path that ends with the container: what lies below are its own cgroups. */
  readonly path: string;
}

const hex64 = '[0-9a-f]{64}';
/** Names of cgroups made by systemd's driver: the prefix tells the runtime. */
const scope = new RegExp(`^(docker|cri-containerd|crio|libpod|nerdctl|containerd)-(${hex64})\\.scope$`);
const cgroupfs = new RegExp(`^(?:(libpod|crio|cri-containerd|docker)-)?(${hex64})$`);
const monitor = /^(?:libpod|crio)-conmon-|^conmon(?:-|$)/;
/** Of `podman run --cgroups=split`, as quadlets have it: beside `supervisor`, in the unit's own cgroup. */
const split = new RegExp(`^libpod-payload-(${hex64})$`);
/** libvirt's machines are no containers, though their emulators have mount namespaces. */
const emulator = /^qemu-\d+-/;
const podFolder = /^(?:[\w-]*kubepods(?:-\w+)?-)?pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?$/i;
const anyPodFolder = /^(?:[\w-]*kubepods(?:-\w+)?-)?pod([\w-]+?)(?:\.slice)?$/;

const runtimeOfPrefix: ReadonlyMap<string, string> = new Map([
  ['docker', 'docker'],
  ['cri-containerd', 'containerd'],
  ['containerd', 'containerd'],
  ['nerdctl', 'containerd'],
  ['crio', 'cri-o'],
  ['libpod', 'podman'],
]);

/**
 * Reads the layouts of docker, containerd (ctr, nerdctl, CRI), podman, CRI-O, k3s, lxc and systemd-nspawn, with the cgroupfs and the systemd driver.
 * The outermost container wins: what runs inside a container is that container's. Null for a path of nobody's.
 *
 * @example
 * import { containerOfCgroup } from 'rawbpf';
 * console.log(containerOfCgroup(`/system.slice/docker-${'ab'.repeat(32)}.scope`)?.runtime); // docker
 */
export function containerOfCgroup(path: string): CgroupContainer | null {
  if (path.length > 4096) return null;
  const parts = path.split('/').filter((part) => part !== '');
  let podUid = '';
  for (const [i, part] of parts.entries()) {
    const below = (id: string, runtime: string): CgroupContainer => ({ id, runtime, podUid, path: `/${parts.slice(0, i + 1).join('/')}` });
    if (monitor.test(part)) return null;
    const pod = kubernetesPod(parts, i);
    if (pod !== null) {
      podUid = pod;
      continue;
    }
    const named = scope.exec(part) ?? cgroupfs.exec(part);
    if (named !== null) return below(named[2] ?? '', runtimeOfPrefix.get(named[1] ?? '') ?? runtimeOfFolder(parts, i));
    const other = otherRuntime(parts, i);
    if (other !== null) return below(other.id, other.runtime);
  }
  return null;
}

/** The uid that a pod's folder names; kind's kubelets prefix it with their own slice. Static pods have uids without dashes, and tests any word below kubepods. */
function kubernetesPod(parts: readonly string[], i: number): string | null {
  const part = parts[i] ?? '';
  const found = podFolder.exec(part) ?? (parts.slice(0, i).some((each) => /^kubepods\b/.test(each)) ? anyPodFolder.exec(part) : null);
  // systemd's names have no dashes, for those mean folders there.
  return found === null ? null : (found[1] ?? '').replaceAll('_', '-');
}

/** Who makes folders of bare ids inside a folder of that name. */
function runtimeOfFolder(parts: readonly string[], i: number): string {
  const above = parts[i - 1] ?? '';
  if (above === 'docker') return 'docker';
  if (above === 'libpod_parent' || above === 'machine.slice') return 'podman';
  if (above === 'default' || above === 'k8s.io' || above === 'nerdctl') return 'containerd';
  return '';
}

/** Ids that are no hashes: the machine's name, or what a person typed. */
function otherRuntime(parts: readonly string[], i: number): { readonly id: string; readonly runtime: string } | null {
  const part = parts[i] ?? '';
  const above = parts[i - 1] ?? '';
  const lxc = /^lxc\.payload\.(.+)$/.exec(part)?.[1] ?? (above === 'lxc' || above === 'lxc.payload' ? part : undefined);
  if (lxc !== undefined && lxc !== '') return { id: lxc, runtime: 'lxc' };
  if (above === 'machine.slice') {
    const nspawn = /^systemd-nspawn@(.+)\.service$/.exec(part)?.[1] ?? /^machine-(.+)\.scope$/.exec(part)?.[1];
    const id = unescapeUnit(nspawn ?? '');
    if (id !== '' && !emulator.test(id)) return { id, runtime: 'systemd-nspawn' };
  }
  // `ctr run IMAGE c1` makes /default/c1: the namespace of containerd, then the id. Only at the root, for these are everyday words.
  if (i === 1 && above === 'default' && /^[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*$/.test(part)) return { id: part, runtime: 'containerd' };
  const payload = split.exec(part)?.[1];
  if (payload !== undefined) return { id: payload, runtime: 'podman' };
  return null;
}

/** systemd writes characters that a unit's name cannot hold as \\xNN (systemd.unit(5), "String Escaping for Inclusion in Unit Names"). */
function unescapeUnit(name: string): string {
  return name.replace(/\\x([0-9a-f]{2})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)));
}
