import t from 'tap';
import { containerOfCgroup } from '../../../src/enrich/runtimes/cgroup-path.ts';

const id = '0123456789abcdef'.repeat(4);
const other = 'f'.repeat(64);
const uid = '2dbf5b34-5b6f-4e5b-9a0e-0c0f3d7f9b11';
const systemdUid = uid.replaceAll('-', '_');
const besteffort = `/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod${systemdUid}.slice`;

/** Paths as each runtime and driver writes them; those of docker, ctr, podman, CRI and CRI-O with cgroupfs were seen on a machine. */
const cases: readonly (readonly [path: string, id: string, runtime: string, podUid?: string])[] = [
  [`/docker/${id}`, id, 'docker'],
  [`/system.slice/docker-${id}.scope`, id, 'docker'],
  [`/custom.slice/docker-${id}.scope`, id, 'docker'],
  [`/my/parent/${id}`, id, ''],
  ['/default/c1', 'c1', 'containerd'],
  [`/default/${id}`, id, 'containerd'],
  [`/system.slice/nerdctl-${id}.scope`, id, 'containerd'],
  [`/libpod_parent/libpod-${id}`, id, 'podman'],
  [`/libpod_parent/libpod-${id}/container`, id, 'podman'],
  [`/machine.slice/libpod-${id}.scope`, id, 'podman'],
  [`/machine.slice/libpod-${id}.scope/container`, id, 'podman'],
  [`/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-${id}.scope`, id, 'podman'],
  [`/kubepods/besteffort/pod${uid}/${id}`, id, '', uid],
  [`/kubepods/burstable/pod${uid}/${id}`, id, '', uid],
  [`/kubepods/pod${uid}/${id}`, id, '', uid],
  [`/kubepods/besteffort/poduid-1234/${id}`, id, '', 'uid-1234'],
  [`/kubepods/besteffort/pod${'0123456789abcdef'.repeat(2)}/${id}`, id, '', '0123456789abcdef'.repeat(2)],
  [`${besteffort}/cri-containerd-${id}.scope`, id, 'containerd', uid],
  [`/kubepods/besteffort/pod${uid}/crio-${id}`, id, 'cri-o', uid],
  [`${besteffort}/crio-${id}.scope`, id, 'cri-o', uid],
  [`${besteffort}/crio-${id}.scope/container`, id, 'cri-o', uid],
  [`${besteffort}/docker-${id}.scope`, id, 'docker', uid],
  [`/kubepods.slice/kubepods-pod${systemdUid}.slice/cri-containerd-${id}.scope`, id, 'containerd', uid],
  // k3s with its own cgroup root, kubelets in a container (kind)
  [`/k3s/kubepods/besteffort/pod${uid}/${id}`, id, '', uid],
  [`/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod${systemdUid}.slice/cri-containerd-${id}.scope`, id, 'containerd', uid],
  ['/lxc.payload.web/init.scope', 'web', 'lxc'],
  ['/lxc/web', 'web', 'lxc'],
  ['/machine.slice/systemd-nspawn@debian.service/payload', 'debian', 'systemd-nspawn'],
  ['/machine.slice/machine-my\\x2dbox.scope', 'my-box', 'systemd-nspawn'],
  // podman run --cgroups=split, which units made of quadlets say.
  [`/system.slice/web.service/libpod-payload-${id}`, id, 'podman'],
  // The outermost counts.
  [`/docker/${id}/docker/${other}`, id, 'docker'],
  [`/docker/${id}/kubepods/besteffort/pod${uid}/${other}`, id, 'docker'],
  [`/docker/${id}/system.slice/ssh.service`, id, 'docker'],
];

const nobodys: readonly string[] = [
  '/',
  '',
  '/user.slice/user-0.slice/session-1.scope',
  '/system.slice/docker.service',
  '/system.slice/containerd.service',
  `/machine.slice/libpod-conmon-${id}.scope`,
  `/system.slice/crio-conmon-${id}.scope`,
  `/kubepods/besteffort/pod${uid}`,
  besteffort,
  `/docker/${id.slice(1)}`,
  `/docker/${id}x`,
  `/docker/x${id}`,
  `/docker/${id.toUpperCase()}`,
  '/default',
  '/a/default/c1',
  '/default/../x',
  '/lxc.monitor.web',
  '/system.slice/web.service/supervisor',
  // A virtual machine of libvirt's.
  '/machine.slice/machine-qemu\\x2d3\\x2dwindows.scope/libvirt/emulator',
  `/${'a/'.repeat(3000)}${id}`,
];

t.test('every layout', async (t) => {
  for (const [path, wanted, runtime, podUid] of cases)
    t.match(containerOfCgroup(path), { id: wanted, runtime, podUid: podUid ?? '' }, path);
});

t.test("the container's own cgroup is told from those below it", async (t) => {
  t.equal(containerOfCgroup(`/docker/${id}/system.slice/ssh.service`)?.path, `/docker/${id}`);
  t.equal(containerOfCgroup(`/machine.slice/libpod-${id}.scope/container`)?.path, `/machine.slice/libpod-${id}.scope`);
});

t.test("what is nobody's", async (t) => {
  for (const path of nobodys) t.equal(containerOfCgroup(path), null, path);
});
