import t from 'tap';
import { socketLayout } from '../../../src/enrich/sockets/index.ts';

void t.test('each optional field on and off: the size of an entry, and the struct that CO-RE relocates for', (t) => {
  for (const [cwd, exepath] of [
    [0, 0],
    [512, 0],
    [0, 512],
    [512, 512],
    [64, 4096],
  ] as const) {
    const layout = socketLayout({ cwd, exepath });
    const type = layout.btf.type(layout.btf.findByName('gadget_socket_value', 'STRUCT') ?? 0);
    if (type.kind !== 'STRUCT') throw new Error('no struct');
    const at = new Map(type.members.map(({ name, bitOffset }) => [name, bitOffset / 8]));
    t.equal(type.size, layout.size);
    t.equal(layout.size - cwd - exepath, 120);
    t.equal(at.has('cwd'), cwd > 0);
    t.equal(at.has('exepath'), exepath > 0);
    t.equal(at.get('cwd') ?? 0, layout.cwdAt);
    t.equal(at.get('exepath') ?? 0, layout.exepathAt);
    // The contract's own fields do not move.
    t.same(
      ['mntns', 'pid_tgid', 'uid_gid', 'task', 'ptask', 'sock', 'deletion_timestamp', 'ppid', 'ptid', 'ipv6only'].map((name) =>
        at.get(name),
      ),
      [0, 8, 16, 24, 40, 56, 64, 72, 76, 80],
    );
  }
  for (const cwd of [-1, 3, 8192]) t.throws(() => socketLayout({ cwd, exepath: 0 }), { code: 'E_SOCKET_FIELDS' });
  t.end();
});
