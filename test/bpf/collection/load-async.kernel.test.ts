import { readdirSync } from 'node:fs';
import t from 'tap';
import { tryPrograms, tryProgramsAsync } from '../../../src/bpf/collection/check.ts';
import { loadCollection, loadCollectionAsync } from '../../../src/bpf/collection/load.ts';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import type { ObjectSpec } from '../../../src/bpf/object/spec.ts';
import { BPF_CMD } from '../../../src/bpf/uapi/cmd.gen.ts';
import { RawbpfError } from '../../../src/error.ts';
import type { FfiBackend } from '../../../src/sys/backend.ts';
import { createBackend, hostArch } from '../../../src/sys/default-sys.ts';
import { FaultInjector } from '../../../src/sys/fault-injector.ts';
import { Sys } from '../../../src/sys/sys.ts';
import { openRuntime } from '../runtime.ts';

/** A kernel behind a backend that counts programs: those loaded on other threads, and those on this one. */
function countingKernel(): { kernel: Kernel; counts: { elsewhere: number; here: number } } {
  const inner = createBackend();
  const counts = { elsewhere: 0, here: 0 };
  const backend: FfiBackend = {
    ...inner,
    syscall: (nr, args) => {
      if (args[0] === BPF_CMD.BPF_PROG_LOAD) counts.here++;
      return inner.syscall(nr, args);
    },
    offload: (nr, args) => {
      counts.elsewhere++;
      return inner.offload?.(nr, args) ?? Promise.resolve(null);
    },
  };
  const kernel = new Kernel({ sys: new Sys(backend, hostArch()) });
  // What is asked of the kernel once is asked before.
  loadCollection(kernel, openRuntime(kernel)).close();
  counts.here = 0;
  return { kernel, counts };
}

/** Makes a program end where it begins, which the verifier refuses. */
function spoil(spec: ObjectSpec, name: string): ObjectSpec {
  const program = spec.programs.find((one) => one.name === name);
  if (program === undefined) throw new Error(`no program ${name}`);
  spec.code.get(program.sectionIndex)?.insns.set([0x95, 0, 0, 0, 0, 0, 0, 0], program.sectionInsn * 8);
  return spec;
}

const openFds = (): number => readdirSync('/proc/self/fd').length;

function refusal(error: unknown): { code: string; message: string } {
  if (!(error instanceof RawbpfError)) throw error;
  return { code: error.code, message: error.message };
}

t.test('programs loaded at the same time are those loaded one after another', async (t) => {
  const { kernel, counts } = countingKernel();
  t.teardown(() => kernel.close());
  const one = loadCollection(kernel, openRuntime(kernel));
  t.teardown(() => one.close());
  const inTurns = counts.here;
  counts.here = 0;
  const other = await loadCollectionAsync(kernel, openRuntime(kernel));
  t.teardown(() => other.close());
  const tags = (collection: typeof one): unknown[] => [...collection.programs].map(([name, program]) => [name, program.info().tag]);
  t.same(tags(other), tags(one), 'in the same order, too');
  const packet = new Uint8Array(64);
  t.equal(other.program('through_tail_call').testRun({ data: packet }).returnValue, 77, 'the prog array was filled');
  t.equal(counts.elsewhere + counts.here, inTurns, 'each was loaded once');
  t.ok(counts.elsewhere > counts.here, `${counts.elsewhere} on other threads`);
  t.ok(counts.here > 0, 'those with a prog array in their turn: the first decides what fits into it');
});

t.test('what is refused is told as if loaded one after another, and nothing stays', async (t) => {
  const { kernel } = countingKernel();
  t.teardown(() => kernel.close());
  // Two of them: the first in the object's order counts, whichever is refused first.
  const spec = spoil(spoil(openRuntime(kernel), 'on_tp_btf'), 'sum');
  let expected: unknown = null;
  try {
    loadCollection(kernel, spec);
  } catch (error) {
    expected = refusal(error);
  }
  t.match(expected, { code: 'E_VERIFIER' });
  const fds = openFds();
  for (let i = 0; i < 5; i++) {
    const refused = await loadCollectionAsync(kernel, spec).then(
      () => null,
      (error: unknown) => refusal(error),
    );
    t.same(refused, expected);
  }
  t.equal(openFds(), fds, 'programs that others had been loaded beside are closed');
  const left = await loadCollectionAsync(kernel, spec, { skipUnsupported: true });
  t.same(left.skipped.map((program) => program.spec.name).toSorted(), ['on_tp_btf', 'sum']);
  left.close();
  t.equal(openFds(), fds);
});

t.test('check says the same', async (t) => {
  const { kernel } = countingKernel();
  t.teardown(() => kernel.close());
  for (const spec of [openRuntime(kernel), spoil(openRuntime(kernel), 'sum')]) {
    const plain = (verdict: ReturnType<typeof tryPrograms>): unknown => ({
      loaded: verdict.loaded,
      error: verdict.error?.message,
      programs: verdict.programs.map(({ name, loaded, tag, insns, error }) => ({ name, loaded, tag, insns, error: error?.message })),
    });
    t.same(plain(await tryProgramsAsync(kernel, spec)), plain(tryPrograms(kernel, spec)));
  }
});

t.test('a backend without other threads loads as ever, failures too', async (t) => {
  const injector = new FaultInjector(createBackend(), hostArch(), []);
  const kernel = new Kernel({ sys: new Sys(injector, hostArch()) });
  t.teardown(() => kernel.close());
  const collection = await loadCollectionAsync(kernel, openRuntime(kernel));
  t.ok(collection.programs.size > 10);
  collection.close();
});
