import t from 'tap';
import { existsSync, readFileSync } from 'node:fs';
import { kernelConfigText } from '../../support/kernel-config.ts';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { type KernelFeature, probes } from '../../../src/bpf/kernel/features.ts';
import type { TraceEvent } from '../../../src/bpf/kernel/trace.ts';
import { createBackend, hostArch } from '../../../src/sys/default-sys.ts';
import { FaultInjector, withoutRingbuf } from '../../../src/sys/fault-injector.ts';
import { versionCode } from '../../../src/sys/kernel-version.ts';
import { Sys } from '../../../src/sys/sys.ts';

const kernel = new Kernel();

/** The release that brought each feature: kernels from then on have it. */
const since: Readonly<Partial<Record<KernelFeature, number>>> = {
  prog_name: versionCode(4, 15),
  global_data: versionCode(5, 2),
  btf: versionCode(4, 18),
  btf_func: versionCode(5, 0),
  btf_func_global: versionCode(5, 6),
  btf_datasec: versionCode(5, 2),
  btf_float: versionCode(5, 13),
  btf_decl_tag: versionCode(5, 16),
  btf_type_tag: versionCode(5, 17),
  btf_enum64: versionCode(6, 0),
  array_mmap: versionCode(5, 5),
  exp_attach_type: versionCode(4, 17),
  probe_read_kernel: versionCode(5, 5),
  prog_bind_map: versionCode(5, 10),
  module_btf: versionCode(5, 11),
  perf_link: versionCode(5, 15),
  bpf_cookie: versionCode(5, 15),
  memcg_account: versionCode(5, 11),
  arg_ctx_tag: versionCode(6, 8),
  ringbuf: versionCode(5, 8),
};

t.test('each feature is found exactly on the kernels that have it', async (t) => {
  for (const [feature, version] of Object.entries(since)) {
    t.equal(kernel.has(feature as KernelFeature), kernel.version >= version, feature);
  }
});

t.test('each is probed when it is asked for, and once', async (t) => {
  const events: TraceEvent[] = [];
  const fresh = new Kernel({ trace: (event) => events.push(event), features: { btf: false } });
  t.same(events, []);
  fresh.has('ringbuf');
  fresh.has('ringbuf');
  t.equal(fresh.has('btf'), false, 'an answer given is not probed');
  t.equal(events.filter(({ step }) => step === 'probe').length, 1);
});

t.test('a probe that cannot be made counts as missing', async (t) => {
  const none = new Kernel({
    sys: new Sys(new FaultInjector(createBackend(), hostArch(), [{ when: ({ name }) => name === 'bpf', errno: 'ENOSYS' }]), hostArch()),
  });
  for (const feature of Object.keys(probes) as KernelFeature[]) {
    // Neither asks bpf(2).
    if (feature !== 'syscall_wrapper' && feature !== 'uprobe_syscall') t.equal(none.has(feature), false, feature);
  }
});

t.test('the ring buffer decision', async (t) => {
  const without = new Sys(new FaultInjector(createBackend(), hostArch(), [withoutRingbuf()]), hostArch());
  t.equal(new Kernel({ sys: without }).ringbuf, false);
  t.equal(new Kernel({ sys: without, buffer: 'ringbuf' }).ringbuf, true);
  t.equal(new Kernel({ buffer: 'perf' }).ringbuf, false);
  t.equal(new Kernel({ sys: without }).target().ringbuf, false, 'the linker is told the same');
});

t.test('symbols, configuration and types of the running kernel', async (t) => {
  const line = readFileSync('/proc/kallsyms', 'latin1')
    .split('\n')
    .find((text) => / [tT] bpf_prog_load$/.test(text)) as string;
  t.equal(kernel.kallsyms().address('bpf_prog_load'), BigInt(`0x${line.split(' ')[0]}`));
  t.equal(kernel.target().kernelSymbol('no_such_symbol_at_all'), null);
  const config = kernelConfigText();
  for (const name of ['CONFIG_HZ', 'CONFIG_BPF_SYSCALL', 'CONFIG_CC_VERSION_TEXT', 'CONFIG_NO_SUCH_OPTION']) {
    t.equal(kernel.target().kconfig(name), new RegExp(`^${name}=(.*)$`, 'm').exec(config)?.[1] ?? null, name);
  }
  const btf = kernel.vmlinuxBtf();
  t.ok((btf?.typeCount ?? 0) > 10_000);
  t.ok((btf?.findByName('task_struct', 'STRUCT') ?? 0) > 0);
  kernel.dropCaches();
  t.not(kernel.vmlinuxBtf(), btf, 'read anew after the caches were dropped');
});

t.test('a given BTF is for CO-RE only', async (t) => {
  const bytes = readFileSync('/sys/kernel/btf/vmlinux');
  const given = new Kernel({ btf: new Uint8Array(bytes) });
  t.not(given.coreBtf(), null);
  t.not(given.coreBtf(), given.vmlinuxBtf());
  t.throws(() => new Kernel({ btf: new Uint8Array(100) }).coreBtf(), /BTF/);
});

t.test('LINUX_HAS_SYSCALL_WRAPPER is no where nobody can make a kprobe, as with libbpf', async (t) => {
  const hasPmu = existsSync('/sys/bus/event_source/devices/kprobe');
  if (!hasPmu && kernel.config().get('CONFIG_KPROBE_EVENTS') !== 'y') t.equal(kernel.has('syscall_wrapper'), false);
  else t.equal(kernel.has('syscall_wrapper'), kernel.config().get('CONFIG_ARCH_HAS_SYSCALL_WRAPPER') === 'y');
});
