// Prints fixtures/object/expected.json: maps, programs and relocated instructions of the objects in fixtures/object, as
// libbpf has them, and of one that it linked (with bpftool gen object). What depends on the kernel (BTF ids, addresses) is not in these objects.
//   node scripts/object-golden.mjs [RELOCATE]
// RELOCATE is test/oracle/relocate.c built with libbpf 1.8 or newer; else what scripts/oracle.mjs builds (tp.s needs 1.8).
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { oracle } from './oracle.mjs';

const folder = path.join(import.meta.dirname, '..', 'fixtures', 'object');
const relocate = process.argv[2] ?? oracle();
const expected = {};
// link_a.bpf.o and link_b.bpf.o, linked by libbpf.
const work = mkdtempSync(path.join(tmpdir(), 'rawbpf-golden-'));
const linked = path.join(work, 'linked.bpf.o');
const once = path.join(work, 'once.bpf.o');
execFileSync('bpftool', ['gen', 'object', once, path.join(folder, 'link_a.bpf.o'), path.join(folder, 'link_b.bpf.o')]);
// Again: libbpf corrects the offsets of what was an extern first when it sees them a second time.
execFileSync('bpftool', ['gen', 'object', linked, once]);
for (const name of ['maps', 'calls', 'sections', 'arena', 'jumptables', 'linked']) {
  const file = name === 'linked' ? linked : path.join(folder, `${name}.bpf.o`);
  const args = ['--fake-maps', '--no-pin', '--info', file];
  const { opened, loaded, programs, maps } = JSON.parse(execFileSync(relocate, args, { encoding: 'utf8' }));
  expected[name] = {
    opened,
    loaded,
    programs: programs.map(({ name, section, autoload, type, attachType, flags, insns, funcInfo, lineInfo }) => ({
      name,
      section,
      autoload,
      type,
      attachType,
      flags,
      insns,
      funcInfo,
      lineInfo,
    })),
    maps: maps.map(({ name, type, keySize, valueSize, maxEntries, flags, numaNode, mapExtra, internal }) => ({
      name,
      type,
      keySize,
      valueSize,
      // Without a size libbpf takes the number of processors.
      maxEntries: name === 'perf' ? 0 : maxEntries,
      flags,
      numaNode,
      mapExtra,
      internal,
    })),
  };
}
rmSync(work, { recursive: true });
console.log(JSON.stringify(expected, null, 1));
