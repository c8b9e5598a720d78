import t from 'tap';
import { commonFields, labelText, makeFields } from '../../../src/enrich/containers/fields.ts';
import { ContainerFilter } from '../../../src/enrich/containers/filter.ts';
import { identityOfCgroups, identityOfProcess } from '../../../src/enrich/containers/identity.ts';
import type { Container } from '../../../src/enrich/containers/container.ts';
import type { PodNames, RuntimeNames } from '../../../src/enrich/containers/names.ts';
import { cgroupMounts } from '../../../src/enrich/containers/process.ts';
import { SpaceHistory, type Space } from '../../../src/enrich/containers/spaces.ts';
import type { TaskEvent } from '../../../src/enrich/containers/task-event.ts';
import { emptyNames, emptyPod } from '../../../src/enrich/runtimes/source.ts';
import { eventOf, placeOf } from './task-events.ts';

const id = 'ab'.repeat(32);
const other = 'cd'.repeat(32);
const host = { mntns: 1, netns: 2, pidns: 3 };

void t.test('cgroups name containers where only root could have made them', (t) => {
  const rows: readonly (readonly [string, Partial<TaskEvent>, string | null])[] = [
    ['docker', { places: [placeOf(`/docker/${id}`)] }, id],
    ['v1 where v2 has nothing', { places: [placeOf('/'), placeOf(`/docker/${id}`, [], 8)] }, id],
    ['a scope below a slice', { places: [placeOf(`/system.slice/docker-${id}.scope`)] }, id],
    ['its own directory was given to its user', { places: [placeOf(`/docker/${id}`, [0, 100000])] }, id],
    ['below what was given to a user', { places: [placeOf(`/user.slice/docker/${id}`, [1000])] }, null],
    ['a folder above it was given away', { places: [placeOf(`/docker/${id}`, [1000, 0])] }, null],
    ['in namespaces of a user', { usernsLevel: 1, usernsOwner: 1000, places: [placeOf(`/docker/${id}`)] }, null],
    ['in a user namespace of root', { usernsLevel: 1, usernsOwner: 0, places: [placeOf(`/docker/${id}`)] }, id],
    ['a service', { places: [placeOf('/system.slice/cron.service')] }, null],
    ['the outermost counts', { places: [placeOf(`/docker/${id}/docker/${other}`)] }, id],
  ];
  for (const [what, event, expected] of rows) t.equal(identityOfCgroups(eventOf(event))?.id ?? null, expected, what);
  t.equal(identityOfCgroups(eventOf({ places: [placeOf(`/docker/${id}/docker/${other}`)] }))?.innerId, other);
  const inV1 = [placeOf(`/docker/${id}`), placeOf(`/docker/${id}/docker/${other}`, [], 8)];
  t.match(identityOfCgroups(eventOf({ places: inV1 })), { id, innerId: other }, 'an inner runtime that knows the first version alone');
  const elsewhere = [placeOf(`/docker/${id}`), placeOf(`/docker/${other}/docker/${id}`, [], 8)];
  t.match(identityOfCgroups(eventOf({ places: elsewhere })), { id, innerId: '' }, "another one's inner container is not its own");
  t.end();
});

void t.test('without a cgroup, namespaces of processes tell', (t) => {
  const rows: readonly (readonly [string, Partial<TaskEvent>, { id: string; runtime: string } | null])[] = [
    ['no pid namespace of its own', { pidns: 3, pidnsLevel: 0 }, null],
    ['made by a user', { usernsOwner: 1000 }, null],
    ['nothing tells its name', {}, { id: '', runtime: '' }],
    ['runc, in a cgroup of its own', { comm: 'runc:[2:INIT]', ownCgroup: true, places: [placeOf('/web')] }, { id: 'web', runtime: 'runc' }],
    ['lxc', { parentComm: 'lxc-start' }, { id: '', runtime: 'lxc' }],
    [
      'systemd-nspawn without a unit: all its cgroups have one name',
      { parentComm: 'systemd-nspawn', ownCgroup: true, places: [placeOf('/shell/payload')] },
      { id: '', runtime: 'systemd-nspawn' },
    ],
    [
      'a container that is called so',
      { parentComm: 'runc', ownCgroup: true, places: [placeOf('/payload')] },
      { id: 'payload', runtime: 'runc' },
    ],
    [
      'systemd in a container has the same name everywhere: that of the cgroup above is its own',
      { ownCgroup: true, comm: 'systemd', places: [placeOf('/web/init.scope')] },
      { id: 'web', runtime: '' },
    ],
    [
      "crun's cgroup below the one that it was given",
      { ownCgroup: true, comm: 'crun', places: [placeOf('/shop.scope/container')] },
      { id: 'shop.scope', runtime: 'crun' },
    ],
    ['a container that is called so, at the root', { ownCgroup: true, places: [placeOf('/container')] }, { id: 'container', runtime: '' }],
    ['a cgroup of its own in a place of a user', { ownCgroup: true, places: [placeOf('/home/web', [1000])] }, { id: '', runtime: '' }],
  ];
  for (const [what, event, expected] of rows) {
    const found = identityOfProcess(eventOf(event), host);
    t.same(found === null ? null : { id: found.id, runtime: found.runtime }, expected, what);
  }
  t.end();
});

void t.test('numbers of namespaces are used again: the time tells which is meant', (t) => {
  const history = new SpaceHistory();
  const add = (unique: bigint, from: number): Space => {
    const space: Space = {
      mntns: 5,
      unique,
      from,
      to: null,
      doubtfulFrom: null,
      verdict: 'none',
      container: null,
      innerId: '',
      seenToEnd: false,
    };
    history.add(space);
    return space;
  };
  t.equal(history.at(5, 0), null);
  const first = add(1n, 1e9);
  const second = add(2n, 2e9);
  const third = add(3n, 3e9);
  t.equal(history.at(5, 1.5e9), first);
  t.equal(history.at(5, 2e9), second, 'from its beginning on');
  t.equal(history.at(5, 9e9), third);
  t.equal(history.at(5, 0), third, 'now');
  t.equal(history.at(5, 0.5e9), null, 'before all of them');
  t.equal(history.exact(5, 2n), second);
  t.equal(first.to, 2e9, 'it ended when the next began, at the latest');
  history.prune(2.5e9);
  t.same([history.exact(5, 1n), history.exact(5, 2n)], [null, second]);
  t.equal(history.size, 2);
  t.end();
});

const podOf = (parts: Partial<PodNames>): PodNames => ({ ...emptyPod, ...parts });
const fieldsOf = (names: RuntimeNames | null): ReturnType<typeof makeFields> =>
  makeFields({ id, runtime: 'docker', pid: 5, startedAt: '', hostNetwork: false, names, node: 'n1' }, '');

void t.test('fields of a container, and what several have in common', (t) => {
  const pod = podOf({
    namespace: 'shop',
    podName: 'web-0',
    containerName: 'main',
    podLabels: new Map([
      ['b', '2'],
      ['a', '1'],
    ]),
  });
  const main = fieldsOf({ ...emptyNames, containerId: id, containerName: 'main', k8s: pod });
  const side = fieldsOf({ ...emptyNames, containerId: other, containerName: 'side', k8s: { ...pod, containerName: 'side' } });
  t.match(main, {
    k8s: { node: 'n1', namespace: 'shop', podName: 'web-0', containerName: 'main', podLabels: 'a=1,b=2', hostnetwork: false },
  });
  t.match(commonFields([main, side]), { runtime: { containerId: '', containerPid: 0 }, k8s: { podName: 'web-0', containerName: '' } });
  t.equal(commonFields([main]), main);
  t.equal(commonFields([]), null);
  t.equal(commonFields([main, fieldsOf(null)]), null, 'of different pods');
  t.match(fieldsOf(null), { runtime: { containerId: id, runtimeName: 'docker', containerName: '' }, k8s: { node: '', podName: '' } });
  t.equal(labelText(undefined), '');
  t.end();
});

function containerOf(parts: { id?: string; runtime?: string; names?: Partial<RuntimeNames> | null }): Container {
  const names = parts.names === null ? null : { ...emptyNames, ...parts.names };
  return { id: parts.id ?? id, runtime: parts.runtime ?? 'docker', names } as Container;
}

void t.test('flags select containers', (t) => {
  const web = containerOf({
    names: {
      containerName: 'web',
      containerImageName: 'docker.io/library/nginx:1.25',
      labels: new Map([['tier', 'front']]),
      k8s: podOf({ namespace: 'shop', podName: 'web-0', containerName: 'nginx', podLabels: new Map([['app', 'web']]) }),
    },
  });
  const unnamed = containerOf({ id: other, runtime: 'cri-o', names: null });
  const rows: readonly (readonly [ConstructorParameters<typeof ContainerFilter>[0], boolean, boolean])[] = [
    [{}, true, true],
    [{ containerName: 'web' }, true, false],
    [{ containerName: 'nginx' }, true, false],
    [{ containerName: 'db,web' }, true, false],
    [{ containerName: '!web' }, false, true],
    [{ containerName: 'web,!nginx' }, false, false],
    [{ containerName: other }, false, true],
    [{ containerName: other.slice(0, 12) }, false, true],
    [{ containerName: other.slice(0, 11) }, false, false],
    [{ runtime: 'docker' }, true, false],
    [{ runtime: 'crio' }, false, true],
    [{ image: 'nginx' }, true, false],
    [{ image: 'nginx:1.25' }, true, false],
    [{ image: 'nginx:1.26' }, false, false],
    [{ image: 'library/nginx' }, true, false],
    [{ image: 'ginx' }, false, false],
    [{ k8sNamespace: 'shop' }, true, false],
    [{ k8sPodName: '!web-0' }, false, true],
    [{ k8sContainerName: 'nginx' }, true, false],
    [{ labels: ['app=web'] }, true, false],
    [{ labels: ['app=web,tier=front'] }, true, false],
    [{ labels: ['app=web', 'tier=back'] }, false, false],
    [{ labels: ['!app=web'] }, false, true],
    [{ containerName: 'web', runtime: 'podman' }, false, false],
  ];
  for (const [selection, forWeb, forUnnamed] of rows) {
    const filter = new ContainerFilter(selection);
    t.same([filter.matches(web), filter.matches(unnamed)], [forWeb, forUnnamed], JSON.stringify(selection));
  }
  for (const bad of [{ containerName: '' }, { containerName: 'a,,b' }, { runtime: '!' }, { labels: ['app'] }, { labels: ['=x'] }]) {
    t.throws(() => new ContainerFilter(bad), { code: 'E_CONTAINER_FILTER' }, JSON.stringify(bad));
  }
  t.end();
});

void t.test('where hierarchies of cgroups are mounted', (t) => {
  // A systemd host in hybrid mode (proc_pid_mountinfo(5)).
  const mountinfo = [
    '26 25 0:22 / /sys/fs/cgroup/unified rw,nosuid shared:5 - cgroup2 cgroup2 rw,nsdelegate',
    '27 25 0:23 / /sys/fs/cgroup/systemd rw,nosuid shared:6 - cgroup cgroup rw,xattr,name=systemd',
    '30 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct',
    '31 25 0:27 / /proc rw,nosuid - proc proc rw',
    String.raw`32 25 0:28 / /mnt/a\040b rw shared:9 - cgroup cgroup rw,pids`,
    '',
  ].join('\n');
  t.same(
    [...cgroupMounts(mountinfo)],
    [
      ['', '/sys/fs/cgroup/unified'],
      ['name=systemd', '/sys/fs/cgroup/systemd'],
      ['cpu,cpuacct', '/sys/fs/cgroup/cpu,cpuacct'],
      ['pids', '/mnt/a b'],
    ],
  );
  t.end();
});
