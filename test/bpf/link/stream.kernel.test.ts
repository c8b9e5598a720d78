import t from 'tap';
import { loadCollection } from '../../../src/bpf/collection/load.ts';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { openObject } from '../../../src/bpf/object/open.ts';
import { enableStats } from '../../../src/bpf/program/stats.ts';
import { readProgramStream } from '../../../src/bpf/program/stream.ts';
import { createBackend, hostArch } from '../../../src/sys/default-sys.ts';
import { failNamed, FaultInjector } from '../../../src/sys/fault-injector.ts';
import { Sys } from '../../../src/sys/sys.ts';
import { fixture } from '../../fixture.ts';

const spec = openObject(fixture('attach/stream.bpf.o'), { name: 'stream' });
const load = (kernel: Kernel) => loadCollection(kernel, spec).program('write_streams');
const kernel = new Kernel();
// Programs of type syscall came with Linux 5.14, streams with 6.17.
const noStreams = kernel.version >= 0x61100 ? false : 'no streams before Linux 6.17';

t.test('what a program writes to its streams, once', { skip: noStreams }, async (t) => {
  const program = load(kernel);
  t.equal(readProgramStream(program, 'stdout'), '');
  const written = program.testRun().returnValue | 0;
  // A kernel whose allocator gives nothing where it may not wait (seen: 6.18 built for microVMs) writes nothing.
  t.ok(written === 0 || written === -12, String(written));
  if (written !== 0) {
    t.comment('the kernel has no memory for streams');
    program.close();
    return;
  }
  for (let i = 0; i < 2; i++) program.testRun();
  t.equal(readProgramStream(program, 'stdout'), 'number 42\n'.repeat(3));
  t.equal(readProgramStream(program, 'stdout'), '', 'what was read is gone');
  t.equal(readProgramStream(program, 'stderr'), 'number 7\n'.repeat(3));
  program.close();
});

t.test('a kernel without streams', { skip: kernel.version >= 0x50e00 ? false : 'no programs of type syscall before 5.14' }, async (t) => {
  const faults = new FaultInjector(createBackend(), hostArch(), [failNamed('BPF_PROG_STREAM_READ_BY_FD', 'EINVAL')]);
  const program = load(new Kernel({ sys: new Sys(faults, hostArch()) }));
  t.throws(() => readProgramStream(program, 'stdout'), { code: 'E_STREAM', why: /6\.17/ });
  program.close();
});

t.test(
  'runs are counted while statistics are on',
  { skip: kernel.version >= 0x50e00 ? false : 'no programs of type syscall before 5.14' },
  async (t) => {
    const program = load(kernel);
    const stats = enableStats(kernel);
    program.testRun({});
    const { runCount, runTimeNs } = program.info();
    t.equal(runCount, 1n);
    t.ok(runTimeNs > 0n);
    stats.close();
    program.close();
  },
);
