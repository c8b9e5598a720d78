// Where no programs can be attached that see processes come and go, /proc tells which network namespaces there are.
import t from 'tap';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { openNamespaceWatch } from '../../../src/enrich/network/open-namespace-watch.ts';
import { defaultSys } from '../../../src/sys/default-sys.ts';
import { type Fault, FaultInjector } from '../../../src/sys/fault-injector.ts';
import { namespaceInode } from '../../../src/sys/namespaces.ts';
import { Sys } from '../../../src/sys/sys.ts';
import { Netns, until } from '../../support/netns.ts';
import { slowness } from '../../support/patience.ts';

t.setTimeout(110_000 * slowness);

const sys = defaultSys();
const attaching: ReadonlySet<string> = new Set(['BPF_RAW_TRACEPOINT_OPEN', 'BPF_LINK_CREATE']);
const ways: readonly (readonly [name: string, fault: Fault | null])[] = [
  ['programs', null],
  ['/proc, for want of ring buffers', { when: ({ command }) => command === 'BPF_MAP_CREATE', errno: 'EINVAL' }],
  ['/proc, as nothing can be attached', { when: ({ command }) => attaching.has(command ?? ''), errno: 'EACCES' }],
];

for (const [way, fault] of ways) {
  void t.test(`network namespaces are told as they come and go: ${way}`, async (t) => {
    const faults = new FaultInjector(sys.backend, sys.arch, fault === null ? [] : [fault]);
    const told: [what: 'entered' | 'left', netns: number][] = [];
    const threads: (string | null)[] = [];
    const notices: string[] = [];
    const there = await Netns.make();
    const watch = openNamespaceWatch(
      new Kernel({ sys: new Sys(faults, sys.arch) }),
      {
        entered: (netns, tid) => {
          told.push(['entered', netns]);
          threads.push(namespaceInode(tid, 'net') === netns ? null : `${tid} is not in ${netns}`);
        },
        left: (netns) => told.push(['left', netns]),
      },
      (notice) => notices.push(notice),
    );
    t.teardown(() => watch.close());
    const was = (what: string, netns: number): boolean => told.some(([each, inode]) => each === what && inode === netns);
    t.equal(faults.injected > 0, fault !== null);
    t.equal(notices.length, fault === null ? 0 : 1);
    if (fault !== null) t.match(notices[0], new RegExp(`in /proc.*${fault.errno}`));
    t.ok(was('entered', namespaceInode('self', 'net') ?? 0), "the host's, at once");
    t.ok(was('entered', there.inode), 'what was there, at once');
    const later = await Netns.make();
    await until('the later one is told', () => was('entered', later.inode));
    t.ok(watch.threads.has(later.inode));
    t.notOk(was('left', there.inode));
    await there.close();
    await until('its end is told', () => was('left', there.inode));
    t.notOk(watch.threads.has(there.inode));
    watch.forget(later.inode);
    const before = told.length;
    await until(
      'it is told again',
      () => told.slice(before).some(([what, inode]) => what === 'entered' && inode === later.inode) || fault === null,
    );
    watch.close();
    await later.close();
    await new Promise((resolve) => setTimeout(resolve, 300));
    t.notOk(was('left', later.inode), 'nothing after close()');
    t.same(
      threads.filter((each) => each !== null),
      [],
    );
  });
}
