import t from 'tap';
import { readFileSync } from 'node:fs';
import { loadCollection } from '../../../src/bpf/collection/load.ts';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { attachProgram } from '../../../src/bpf/link/attach.ts';
import { attachTracingMulti } from '../../../src/bpf/link/tracing-multi.ts';
import { openObject } from '../../../src/bpf/object/open.ts';
import type { ObjectSpec } from '../../../src/bpf/object/spec.ts';
import { fixture } from '../../fixture.ts';

const kernel = new Kernel();
const probes = openObject(fixture('attach/tracing.bpf.o'), { name: 'tracing' });
const variables = { wanted_pid: process.pid };
const vmlinux = kernel.vmlinuxBtf();
const attachTypes = vmlinux?.type(vmlinux.findByName('bpf_attach_type', 'ENUM') ?? 0);
const hasMulti = attachTypes?.kind === 'ENUM' && attachTypes.values.some(({ name }) => name === 'BPF_TRACE_FENTRY_MULTI');
// The root of a VM is an overlay: opening a file calls into that module.
const overlay = kernel.moduleBtfs().some(({ name }) => name === 'overlay');

/** The fixture with another pattern in the section of a program. */
function aimed(name: string, pattern: string): ObjectSpec {
  return { ...probes, programs: probes.programs.map((program) => (program.name === name ? { ...program, attachTo: pattern } : program)) };
}

t.test('functions of a module', { skip: !hasMulti || !overlay ? 'needs fentry.multi and a module to trace' : false }, async (t) => {
  const collection = loadCollection(kernel, aimed('on_fentry_multi', 'overlay:ovl_open*'), { programs: ['on_fentry_multi'], variables });
  const link = attachProgram(collection.program('on_fentry_multi'));
  t.equal(link?.kind, 'tracing_multi');
  readFileSync('/etc/passwd');
  t.ok((collection.variable('fired').get() as bigint) > 0n);
  link?.close();
  t.throws(() => attachTracingMulti(collection.program('on_fentry_multi'), 'do_unlinkat'), { code: 'E_ATTACH_MODULE' });
  collection.close();
});

t.test('a module that is not loaded', async (t) => {
  const spec = aimed('on_fentry_multi', 'no_such_module:f*');
  t.throws(() => loadCollection(kernel, spec, { programs: ['on_fentry_multi'], variables }), {
    code: 'E_ATTACH_TARGET',
    next: /load the module/,
  });
});
