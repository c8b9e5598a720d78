// What linking tells of CO-RE: the accesses, what became of them, and which instructions were made invalid.
import { readFileSync } from 'node:fs';
import t from 'tap';
import { offlineKernel } from '../../../src/bpf/object/check/offline-kernel.ts';
import { type AppliedCoreRelocation, linkProgram, openObject } from '../../../src/bpf/object/index.ts';
import { fixtureBtf } from '../../btf/core/support.ts';

const spec = openObject(readFileSync(new URL('../../../../fixtures/core/cases.bpf.o', import.meta.url)));
const { target } = offlineKernel('target', fixtureBtf('target.o'));

function relocationsOf(name: string): readonly AppliedCoreRelocation[] {
  const program = spec.programs.find((one) => one.name === name);
  const result = program === undefined ? null : linkProgram(spec, program, target);
  if (result === null || !result.ok) throw new Error(`${name} does not link`);
  return result.program.coreRelocations;
}

t.test('a field that moved', async (t) => {
  t.match(relocationsOf('field_load_same'), [
    { insn: 0, kind: 'byte_off', local: /struct moved\.third \(0:2 @ offset 12\)$/, target: /@ offset 60\)$/, poisoned: false, value: 60n },
  ]);
});

t.test('a field that is missing', async (t) => {
  t.match(relocationsOf('field_missing'), [
    { insn: 0, target: null, poisoned: true, value: null, reason: 'struct moved has no member half' },
  ]);
});

t.test('a signed field of another width', async (t) => {
  t.match(relocationsOf('width_signed'), [
    { insn: 0, target: /struct width\.signed_grows/, poisoned: true, value: null, reason: /8 bytes/ },
  ]);
});
