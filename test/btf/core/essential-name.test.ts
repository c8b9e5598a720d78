import t from 'tap';
import { essentialName } from '../../../src/btf/core/essential-name.ts';
import { essentialNameLength } from '../../../src/btf/names.ts';
import { toUtf8 } from '../../../src/bytes/text.ts';

const names: readonly [name: string, essential: string][] = [
  ['task_struct', 'task_struct'],
  ['task_struct___old', 'task_struct'],
  ['a___b___c', 'a___b'],
  ['a___b', 'a'],
  ['a___', 'a___'],
  ['___a', '___a'],
  ['a____b', 'a____b'],
  ['a_____b', 'a_____b'],
  ['a___b____c', 'a'],
  ['', ''],
  ['a__b', 'a__b'],
];

t.test('a flavour starts at the last ___ between two characters that are no underscores', async (t) => {
  for (const [name, essential] of names) {
    t.equal(essentialName(name), essential, name);
    t.equal(essentialNameLength(toUtf8(name)), essential.length, `the name index agrees on ${name}`);
  }
});
