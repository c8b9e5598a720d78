// Compares the section table with libbpf's: node scripts/check-section-rules.mjs PATH/TO/libbpf.c (build first)
import { readFileSync } from 'node:fs';
import { sectionRows } from '../build/src/bpf/object/section-rows.js';

const source = readFileSync(process.argv[2] ?? '', 'utf8');
const table = source.slice(source.indexOf('section_defs[] = {'));
const flagNames = { SEC_SLEEPABLE: 'sleepable', SEC_ATTACHABLE_OPT: 'optional', SEC_ATTACH_BTF: 'btf', SEC_XDP_FRAGS: 'frags' };
const theirs = [];
for (const [, pattern, type, attach, flags] of table
  .slice(0, table.indexOf('\n};'))
  .matchAll(/SEC_DEF\("([^"]+)",\s*(\w+),\s*(\w+),\s*([^,)]+)/g)) {
  const words = Object.entries(flagNames).flatMap(([word, name]) => (new RegExp(`\\b${word}\\b`).test(flags) ? [name] : []));
  theirs.push([pattern, type, attach === '0' ? null : attach, words.toSorted().join(' ')].join(' | '));
}
const ours = sectionRows.map(([pattern, type, attach, , ...flags]) =>
  [pattern, type, attach, flags.map(String).toSorted().join(' ')].join(' | '),
);
const different = theirs.map((row, i) => (row === ours[i] ? null : `libbpf: ${row}\n  ours: ${ours[i]}`)).filter((row) => row !== null);
console.log(`${theirs.length} rows in libbpf, ${ours.length} here, ${different.length} differ`);
for (const row of different) console.log(row);
process.exit(different.length > 0 || theirs.length !== ours.length ? 1 : 0);
