// Prints fixtures/core/expected.json: the relocated instructions, as libbpf has them, of each program of cases.bpf.o with
// each target BTF, null where libbpf refuses.
import path from 'node:path';
import { runOracle } from './oracle.mjs';

const folder = path.join(import.meta.dirname, '..', 'fixtures', 'core');
const targets = {};
for (const target of ['target.o', 'cases.bpf.o']) {
  const [result] = runOracle(['--fake-maps', '--each', '--btf', path.join(folder, target), path.join(folder, 'cases.bpf.o')]);
  targets[target] = Object.fromEntries(result.alone.map(({ loaded, programs }) => [programs[0].name, loaded ? programs[0].insns : null]));
}
console.log(JSON.stringify(targets, null, 1));
