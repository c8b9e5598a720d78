// The kernel takes the BTF that is made here: completed, sanitised in every way, built, deduplicated. Needs CAP_BPF.
import { readdirSync } from 'node:fs';
import t from 'tap';
import {
  allBtfFeatures,
  Btf,
  BtfBuilder,
  btfFromElf,
  dedupBtf,
  fixupDatasecs,
  sanitizeBtf,
  type BtfFeatures,
} from '../../src/btf/index.ts';
import { Kernel } from '../../src/bpf/kernel/kernel.ts';
import { parseElf } from '../../src/elf/index.ts';
import { bpf } from '../../src/sys/bpf.ts';
import { defaultSys } from '../../src/sys/default-sys.ts';
import { fixture } from '../fixture.ts';
import { concatenated, unit } from './units.ts';

const sys = defaultSys();
const kernel = new Kernel();
const newest = kernel.has('btf_enum64') && kernel.has('btf_qmark_datasec') ? false : 'this kernel does not take BTF of every kind';

/** Loads BTF into the kernel and lets go of it; '' where it was taken, else errno and the verifier's last words. */
function load(bytes: Uint8Array): string {
  const log = new Uint8Array(1 << 16);
  const result = bpf(sys, 'BPF_BTF_LOAD', {
    btf: bytes,
    btf_size: bytes.length,
    btf_log_buf: log,
    btf_log_size: log.length,
    btf_log_level: 1,
  });
  if (result >= 0) {
    sys.call('close', result);
    return '';
  }
  return `${result}: ${Buffer.from(log.subarray(0, log.indexOf(0)))
    .toString()
    .slice(-300)}`;
}

function completed(file: string): Btf {
  const elf = parseElf(fixture(file));
  const btf = btfFromElf(elf);
  if (btf === null) throw new Error(`${file} has no BTF`);
  return Btf.parse(fixupDatasecs(btf, elf));
}

const objects = [
  'tour.bpf.o',
  'runtime.bpf.o',
  ...readdirSync(new URL('../../../fixtures/object/', import.meta.url))
    // link_*.bpf.o are halves: nothing loads one before it is linked with the other.
    .filter((file) => file.endsWith('.bpf.o') && !file.startsWith('link_'))
    .map((file) => `object/${file}`),
].filter((file) => btfFromElf(parseElf(fixture(file))) !== null);

t.test('completed BTF of objects', { skip: newest }, (t) => {
  t.ok(objects.length > 5);
  for (const file of objects) t.equal(load(completed(file).bytes), '', file);
  t.end();
});

/** Parameters without a name become enumerators without one: kernels that lack FUNC (before 5.0) did not look at those. */
function complaint(text: string): string {
  // Likewise a tag of a parameter: every kernel that knows DECL_TAG (5.16) knows FUNC.
  return /ENUM \(anon\) size=4 vlen=\d+ Invalid name|DECL_TAG arg:ctx .* Invalid component_idx/.test(text) ? '' : text;
}

t.test('BTF made for kernels that lack a kind is taken by one that does not', { skip: newest }, (t) => {
  const names = Object.keys(allBtfFeatures) as (keyof BtfFeatures)[];
  const none = Object.fromEntries(names.map((name) => [name, false])) as unknown as BtfFeatures;
  for (const file of objects) {
    const btf = completed(file);
    for (const name of names)
      t.equal(complaint(load(sanitizeBtf(btf, { ...allBtfFeatures, [name]: false }))), '', `${file} without ${name}`);
    t.equal(complaint(load(sanitizeBtf(btf, none))), '', `${file} without any`);
  }
  t.end();
});

t.test('built and deduplicated BTF, and BTF without its layout section', { skip: newest }, (t) => {
  const builder = new BtfBuilder();
  const int = builder.add({ kind: 'INT', name: 'int', size: 4, encoding: 1, bitOffset: 0, bits: 32 });
  builder.add({
    kind: 'STRUCT',
    name: 'node',
    size: 16,
    members: [
      { name: 'next', typeId: builder.nextId + 1, bitOffset: 0, bitSize: 0 },
      { name: 'flag', typeId: int, bitOffset: 64, bitSize: 3 },
    ],
  });
  builder.add({ kind: 'PTR', name: '', typeId: 2, attribute: false });
  builder.add({ kind: 'ENUM64', name: 'big', size: 8, signed: true, values: [{ name: 'LOW', value: -(1n << 63n) }] });
  t.equal(load(builder.encode()), '');
  t.equal(load(sanitizeBtf(Btf.parse(builder.encode({ layout: true })), { ...allBtfFeatures, layout: false })), '');
  t.equal(load(Uint8Array.from(dedupBtf(withoutSections(concatenated([unit('one'), unit('two'), unit('three')]))).bytes)), '');
  t.not(load(builder.encode().subarray(0, 60)), '', 'and a broken one is not taken');
  t.end();
});

/** The types without variables and sections, which no ELF file has completed. */
function withoutSections(btf: Btf): Btf {
  const builder = new BtfBuilder();
  for (let id = 1; id < btf.typeCount; id++) {
    const { kind } = btf.type(id);
    if (kind !== 'VAR' && kind !== 'DATASEC') builder.copy(btf, id);
  }
  return Btf.parse(builder.encode());
}
