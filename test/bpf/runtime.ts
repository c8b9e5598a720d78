import { hasProgramType } from '../../src/bpf/features/program-types.ts';
import type { Kernel } from '../../src/bpf/kernel/kernel.ts';
import { openObject } from '../../src/bpf/object/open.ts';
import type { ObjectSpec } from '../../src/bpf/object/spec.ts';
import { fixture } from '../fixture.ts';

/** runtime.bpf.o without the programs whose type this kernel does not have (netfilter: Linux 6.4). */
export function openRuntime(kernel: Kernel): ObjectSpec {
  const spec = openObject(fixture('runtime.bpf.o'), { name: 'runtime' });
  const known = hasProgramType(kernel, 'BPF_PROG_TYPE_NETFILTER');
  return { ...spec, programs: spec.programs.filter(({ name }) => known || name !== 'on_netfilter') };
}
