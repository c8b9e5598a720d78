import t from 'tap';
import { printable, printableLines, safeJson } from '../../src/bytes/printable.ts';

t.test('what steers a terminal is written out', (t) => {
  t.equal(printable('a\u001b[31m\n\t\u007f\u009b\u202e\u2028\u{e0001}é€'), 'a\\x1b[31m\\x0a\\x09\\x7f\\x9b\\u202e\\u2028\\u{e0001}é€');
  t.equal(printableLines('a\u001b\n\tb\r\u009b'), 'a\\x1b\n\tb\\x0d\\x9b');
  t.end();
});

t.test('JSON keeps its value', (t) => {
  const hostile = '\u007f\u009b[31m\u001b';
  t.notMatch(safeJson(JSON.stringify(hostile)), /\p{Cc}/u);
  t.equal(JSON.parse(safeJson(JSON.stringify(hostile))), hostile);
  t.end();
});
