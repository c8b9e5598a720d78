import t from 'tap';
import { jsonText } from '../../src/cli/json-text.ts';

t.test('bigints are bare digits, and no string becomes one', (t) => {
  t.equal(jsonText({ a: 2n ** 64n - 1n, b: '5', c: -1n }), '{"a":18446744073709551615,"b":"5","c":-1}');
  t.equal(jsonText('\u0001big\u000212'), '"\\u0001big\\u000212"');
  t.end();
});

t.test('no control character is left raw', (t) => {
  const hostile = 'a\u001b[31m\u007f\u0085\u009b31mé';
  const text = jsonText({ [hostile]: hostile });
  t.notMatch(text, /\p{Cc}/u);
  t.same(JSON.parse(text), { [hostile]: hostile });
  t.end();
});
