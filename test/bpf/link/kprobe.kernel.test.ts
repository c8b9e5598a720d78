// Probes of kernel functions by name, offset and address, through the PMU and through tracefs. Only where the kernel has kprobes.
import t from 'tap';
import { loadCollection } from '../../../src/bpf/collection/load.ts';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { attachProgram } from '../../../src/bpf/link/attach.ts';
import { attachKprobe, attachKsyscall, type KprobeOptions, parseKprobeTarget } from '../../../src/bpf/link/kprobe.ts';
import type { BpfLink } from '../../../src/bpf/link/link.ts';
import { hasTracefsProbes, listTracefsProbes } from '../../../src/bpf/link/tracefs-probe.ts';
import { openObject } from '../../../src/bpf/object/open.ts';
import { fixture } from '../../fixture.ts';

const kernel = new Kernel();
const hasKprobes = hasTracefsProbes(kernel, 'kprobe') ? false : 'this kernel has no kprobes';
const name = process.arch === 'arm64' ? '__arm64_sys_getpgid' : '__x64_sys_getpgid';
const spec = openObject(fixture('attach/probes.bpf.o'), { name: 'probes' });
const load = (...programs: string[]) => loadCollection(kernel, spec, { programs, variables: { wanted_pid: process.pid } });
const call = (): number => kernel.sys.call('getpgid', 0);

t.test('places', async (t) => {
  t.same(parseKprobeTarget('do_unlinkat'), { name: 'do_unlinkat', offset: 0n });
  t.same(parseKprobeTarget('foo.isra.0+0x10'), { name: 'foo.isra.0', offset: 16n });
  t.same(parseKprobeTarget('foo+12'), { name: 'foo', offset: 12n });
  t.same(parseKprobeTarget('0xffffffff81000000'), { name: '', offset: 0xffffffff81000000n });
  for (const text of ['', 'a b', '+4', 'foo+', '0x', 'foo-4']) t.throws(() => parseKprobeTarget(text), { code: 'E_KPROBE_TARGET' }, text);
});

for (const via of ['perf', 'tracefs'] as const) {
  t.test(`by name, offset and address, on entry and return: ${via}`, { skip: hasKprobes }, async (t) => {
    const collection = load('on_kprobe', 'on_kretprobe');
    const fired = (): bigint => collection.variable('fired').get() as bigint;
    const count = (link: BpfLink): number => {
      const before = fired();
      for (let i = 0; i < 3; i++) call();
      link.close();
      const after = fired();
      call();
      t.equal(fired(), after, 'nothing once it is closed');
      return Number(after - before);
    };
    const entry = (target: string, options: KprobeOptions = {}) =>
      attachKprobe(collection.program('on_kprobe'), target, { via, ...options });
    t.equal(count(entry(name)), 3, name);
    t.equal(count(attachKprobe(collection.program('on_kretprobe'), name, { via })), 3, 'its return');
    const address = kernel.kallsyms().address(name) ?? 0n;
    t.ok(address > 0n);
    t.equal(count(entry(`0x${address.toString(16)}`)), 3, `address 0x${address.toString(16)}`);
    // Where the second instruction begins depends on how the kernel was built: behind endbr, a no-op, or both.
    let within = 0;
    for (const offset of [4, 5, 9]) {
      try {
        within = count(entry(`${name}+${offset}`));
        break;
      } catch {
        // Not the beginning of an instruction.
      }
    }
    t.equal(within, 3, 'within the function');
    t.throws(() => entry('getpgid_no_such'), { code: /E_KPROBE|E_SYSCALL/ });
    t.same(
      listTracefsProbes(kernel).filter(({ owner }) => owner.pid === process.pid),
      [],
      'none stays in tracefs',
    );
    collection.close();
  });
}

t.test('a system call by its plain name, and by the section', { skip: hasKprobes }, async (t) => {
  const collection = load('on_ksyscall', 'on_kretsyscall');
  const links = [attachProgram(collection.program('on_ksyscall')), attachKsyscall(collection.program('on_kretsyscall'), 'getpgid')];
  call();
  t.equal(collection.variable('fired').get(), 2n);
  for (const link of links) link?.close();
  collection.close();
});

t.test('while a probe of tracefs is there it bears our name', { skip: hasKprobes }, async (t) => {
  const collection = load('on_kprobe');
  const link = attachKprobe(collection.program('on_kprobe'), name, { via: 'tracefs' });
  t.match(
    listTracefsProbes(kernel).filter(({ owner }) => owner.pid === process.pid),
    [{ kind: 'kprobe', place: new RegExp(name) }],
  );
  link.close();
  collection.close();
});
