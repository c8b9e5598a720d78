import t from 'tap';
import {
  alignOf,
  allBtfFeatures,
  Btf,
  BtfBuilder,
  dedupBtf,
  distillBase,
  fixupDatasecs,
  knownSizeOf,
  linesOf,
  parseBtfExt,
  relocateBtf,
  resolveArray,
  sanitizeBtf,
  skipModifiersAndTypedefs,
  swapBtf,
  swapBtfExt,
} from '../../src/btf/index.ts';
import { FormatError } from '../../src/error.ts';
import { checkSurvey, cpuMs, flips, mutations, prefixes, survey } from '../hostile.ts';
import { tour } from './tour.ts';
import { concatenated, unit } from './units.ts';

/** Reads everything; a type that cannot be read does not keep the others from being read. */
function readAll(btf: Btf): void {
  let failed: unknown = null;
  const attempt = (action: () => unknown): void => {
    try {
      action();
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      failed ??= error;
    }
  };
  for (let id = 0; id < btf.typeCount; id++) {
    attempt(() => btf.type(id));
    attempt(() => knownSizeOf(btf, id));
    attempt(() => alignOf(btf, id));
    attempt(() => resolveArray(btf, id));
    attempt(() => skipModifiersAndTypedefs(btf, id));
  }
  attempt(() => btf.findByName('node'));
  attempt(() => btf.findByEssentialName('task_struct'));
  attempt(() => btf.pointerSize);
  if (failed !== null) throw failed;
}

function parseAll(bytes: Uint8Array): void {
  readAll(Btf.parse(bytes));
}

t.test('damaged BTF gives values or typed errors', (t) => {
  const { raw } = tour();
  checkSurvey(t, 'prefixes', survey(prefixes(raw, 11), parseAll));
  checkSurvey(t, 'flips of the header', survey(flips(raw, 0, 24), parseAll));
  checkSurvey(t, 'flips of types', survey(flips(raw, 24, 2800, 13), parseAll));
  checkSurvey(t, 'mutations', survey(mutations(raw, 200, 2), parseAll));
  checkSurvey(t, 'mutations, big endian', survey(mutations(tour('tour.bpfeb.o').raw, 100, 3), parseAll));
  t.end();
});

t.test('damaged BTF is completed, sanitised, swapped and copied, or refused', (t) => {
  const { raw, elf } = tour();
  const read = (bytes: Uint8Array): void => {
    const btf = Btf.parse(bytes);
    const old = { ...allBtfFeatures, func: false, datasec: false, enum64: false, float: false, declTag: false };
    Btf.parse(sanitizeBtf(btf, old));
    Btf.parse(swapBtf(bytes));
    const builder = new BtfBuilder();
    for (let id = 1; id < btf.typeCount; id += 10) builder.copy(btf, id);
    builder.encode();
    Btf.parse(dedupBtf(btf).bytes);
    Btf.parse(fixupDatasecs(btf, elf));
  };
  checkSurvey(t, 'mutations', survey(mutations(raw, 150, 4), read));
  checkSurvey(t, 'flips', survey(flips(raw, 24, 2800, 29), read));
  t.end();
});

t.test('damaged split BTF and distilled bases are refused or relocated', (t) => {
  const base = Btf.parse(dedupBtf(concatenated([unit('one'), unit('two')])).bytes);
  const split = concatenated([unit('three')], { base });
  const distilled = distillBase(split);
  const readSplit = (bytes: Uint8Array): void => {
    const damaged = Btf.parse(bytes, { base });
    dedupBtf(damaged);
    distillBase(damaged);
  };
  checkSurvey(t, 'split', survey(mutations(split.bytes, 150, 6), readSplit));
  const readDistilled = (bytes: Uint8Array): void => {
    relocateBtf(Btf.parse(distilled.split, { base: Btf.parse(bytes) }), base);
  };
  checkSurvey(t, 'distilled base', survey(mutations(distilled.base, 150, 7), readDistilled));
  const distilledBase = Btf.parse(distilled.base);
  const readRelocated = (bytes: Uint8Array): void => {
    Btf.parse(relocateBtf(Btf.parse(bytes, { base: distilledBase }), base), { base });
  };
  checkSurvey(t, 'split over a distilled base', survey(mutations(distilled.split, 150, 8), readRelocated));
  t.end();
});

t.test('damaged .BTF.ext gives values or typed errors', (t) => {
  const { rawExt, btf } = tour();
  const read = (bytes: Uint8Array): void => {
    const ext = parseBtfExt(bytes, btf);
    for (const { sectionName } of ext.lineInfo) linesOf(ext, btf, sectionName);
    swapBtfExt(bytes);
  };
  checkSurvey(t, 'prefixes', survey(prefixes(rawExt, 3), read));
  checkSurvey(t, 'flips', survey(flips(rawExt, 0, rawExt.length, 3), read));
  checkSurvey(t, 'mutations', survey(mutations(rawExt, 500, 5), read));
  t.end();
});

t.test('hostile sizes cost no more than the bytes they come in', (t) => {
  // A million names in one long string, each a suffix of the last.
  const count = 50_000;
  const types = new Uint8Array(count * 12);
  const view = new DataView(types.buffer);
  for (let i = 0; i < count; i++) {
    view.setUint32(i * 12, i + 1, true);
    view.setUint32(i * 12 + 4, 0x04000000, true);
  }
  const strings = new Uint8Array(count + 2).fill(0x5f, 1, count + 1);
  const bytes = new Uint8Array(24 + types.length + strings.length);
  const head = new DataView(bytes.buffer);
  head.setUint32(0, 0x0001eb9f, true);
  [24, 0, types.length, types.length, strings.length].forEach((word, i) => head.setUint32(4 + i * 4, word, true));
  bytes.set(types, 24);
  bytes.set(strings, 24 + types.length);
  const start = cpuMs();
  const btf = Btf.parse(bytes);
  t.equal(btf.findByName('_'), count);
  t.equal(btf.findByEssentialName('__')[0], count - 1);
  for (let id = 1; id < btf.typeCount; id++) {
    if (id > count - 4096) btf.nameOf(id);
    else if (id % 100 === 0) t.throws(() => btf.nameOf(id), { code: 'E_BTF_STRING' });
  }
  t.ok(cpuMs() - start < 5000, `${cpuMs() - start} ms`);
  t.end();
});
