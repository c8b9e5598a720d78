// Where the BTF of a kernel and of its modules comes from, and what is done with a broken one.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { readModuleBtfs } from '../../../src/bpf/kernel/module-btf.ts';
import type { Notice } from '../../../src/bpf/kernel/notice.ts';
import { readVmlinuxBtf, vmlinuxBtfPaths } from '../../../src/bpf/kernel/vmlinux-btf.ts';
import { BPF_CMD } from '../../../src/bpf/uapi/cmd.gen.ts';
import { Btf } from '../../../src/btf/btf.ts';
import { BtfBuilder } from '../../../src/btf/builder.ts';
import { BPF_ATTR, btfInfo } from '../../../src/sys/bpf-attr/index.ts';
import { ERRNO } from '../../../src/sys/errno.ts';
import { FakeBackend, type FakeCall } from '../../../src/sys/fake-backend.ts';
import { Sys } from '../../../src/sys/sys.ts';
import { fixture } from '../../fixture.ts';

const int = { kind: 'INT', name: 'int', size: 4, encoding: 1, bitOffset: 0, bits: 32 } as const;

t.test('the kernel’s BTF: sysfs first, then the files that distributions install', async (t) => {
  // The same paths that libbpf 1.8 holds: strings bpftool | grep vmlinux.
  t.same(vmlinuxBtfPaths('6.1.0-1'), [
    '/sys/kernel/btf/vmlinux',
    '/boot/vmlinux-6.1.0-1',
    '/lib/modules/6.1.0-1/vmlinux-6.1.0-1',
    '/lib/modules/6.1.0-1/build/vmlinux',
    '/usr/lib/modules/6.1.0-1/kernel/vmlinux',
    '/usr/lib/debug/boot/vmlinux-6.1.0-1',
    '/usr/lib/debug/boot/vmlinux-6.1.0-1.debug',
    '/usr/lib/debug/lib/modules/6.1.0-1/vmlinux',
  ]);
  const folder = mkdtempSync(path.join(tmpdir(), 'rawbpf-btf-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const at = (name: string) => path.join(folder, name);
  const raw = new BtfBuilder();
  raw.add({ kind: 'STRUCT', name: 'from_raw', size: 0, members: [] });
  writeFileSync(at('broken'), Buffer.from('9feb01001800000000', 'hex').fill(0xff, 4));
  writeFileSync(at('elf'), fixture('core/kernel-old.o'));
  writeFileSync(at('raw'), raw.encode());
  const notices: Notice[] = [];
  const sys = new Sys(new FakeBackend('x64'), 'x64');
  const read = (...names: string[]): Btf | null => readVmlinuxBtf(sys, '', (notice) => notices.push(notice), names.map(at));
  t.ok(read('missing', 'raw', 'elf')?.findByName('from_raw'), 'the first that is there');
  t.same(notices, []);
  const fromElf = read('broken', 'elf', 'raw');
  t.ok(fromElf !== null && fromElf.findByName('from_raw') === null, 'an ELF file with .BTF does, too');
  t.match(notices, [{ code: 'N_VMLINUX_BTF', message: /broken and was passed over/ }]);
  t.equal(read('missing'), null);
});

t.test('a module whose BTF is broken is left out, and the others are there', async (t) => {
  const base = new BtfBuilder();
  base.add(int);
  const vmlinux = Btf.parse(base.encode());
  const split = new BtfBuilder({ base: vmlinux });
  split.add({ kind: 'STRUCT', name: 'of_module', size: 4, members: [{ name: 'a', typeId: 1, bitOffset: 0, bitSize: 0 }] });
  const good = split.encode();
  const objects = [
    { id: 1, name: 'vmlinux', kernel: 1, bytes: base.encode() },
    { id: 2, name: 'broken', kernel: 1, bytes: good.slice(0, 24) },
    { id: 3, name: '', kernel: 0, bytes: good },
    { id: 4, name: 'whole', kernel: 1, bytes: good },
  ];
  const closed: number[] = [];
  const answer = (call: FakeCall): number | undefined => {
    if (call.name === 'close') return void closed.push(Number(call.args[0]));
    if (call.name !== 'bpf') return undefined;
    const bytes = call.args[1] as Uint8Array;
    switch (Number(call.args[0])) {
      case BPF_CMD.BPF_BTF_GET_NEXT_ID: {
        const view = new DataView(bytes.buffer, bytes.byteOffset);
        const next = objects.find(({ id }) => id > view.getUint32(0, true));
        if (next === undefined) return -ERRNO.ENOENT;
        view.setUint32(4, next.id, true);
        return 0;
      }
      case BPF_CMD.BPF_BTF_GET_FD_BY_ID:
        return 100 + Number(BPF_ATTR.BPF_BTF_GET_FD_BY_ID.decode(bytes)['btf_id']);
      case BPF_CMD.BPF_OBJ_GET_INFO_BY_FD: {
        const attr = BPF_ATTR.BPF_OBJ_GET_INFO_BY_FD.decode(bytes);
        const object = objects[Number(attr['bpf_fd']) - 101];
        const info = call.buffer(attr['info'] as bigint);
        if (object === undefined || info === null) return -ERRNO.EINVAL;
        const asked = btfInfo.decode(info);
        call.buffer(asked['name'] as bigint)?.set(Buffer.from(`${object.name}\0`));
        call.buffer(asked['btf'] as bigint)?.set(object.bytes);
        btfInfo.encode({ btf_size: object.bytes.length, kernel_btf: object.kernel, id: object.id }, undefined, info);
        return 0;
      }
      default:
        return undefined;
    }
  };
  const notices: Notice[] = [];
  const modules = readModuleBtfs(new Sys(new FakeBackend('x64', answer), 'x64'), vmlinux, (notice) => notices.push(notice));
  t.same(
    modules.map(({ name, fd }) => [name, fd]),
    [['whole', 104]],
  );
  t.ok(modules[0]?.btf.findByName('of_module'));
  t.match(notices, [{ code: 'N_MODULE_BTF', message: 'the BTF of module broken is broken and was left out' }]);
  t.same(closed, [101, 102, 103], 'only what is used stays open');
});
