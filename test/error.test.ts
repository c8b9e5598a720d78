import t from 'tap';
import { FormatError, RawbpfError, UsageError } from '../src/error.ts';

t.test('the message says what, where, why and the next step', (t) => {
  const error = new RawbpfError({ code: 'E_X', what: 'it failed', where: { file: 'a.o', offset: 3 }, why: 'because', next: 'do this' });
  t.equal(error.message, 'it failed (file a.o, offset 3): because; do this');
  t.equal(error.code, 'E_X');
  t.equal(new RawbpfError({ code: 'E_X', what: 'it failed' }).message, 'it failed');
  t.equal(new RawbpfError({ code: 'E_X', what: 'it failed', next: 'do this' }).message, 'it failed: do this');
  t.end();
});

t.test('names from files cannot reach the terminal raw', (t) => {
  const error = new RawbpfError({ code: 'E_X', what: 'bad', where: { symbol: 'a\u001b[31m\nb' } });
  t.equal(error.message, 'bad (symbol a\\x1b[31m\\x0ab)');
  const name = 'x\u001b]0;pwned\u0007\u009b2J\u202e';
  const everywhere = new RawbpfError({
    code: 'E_X',
    what: `no ${name}`,
    why: `${name} is gone\nsecond line`,
    next: `did you mean ${name}?`,
  });
  const safe = 'x\\x1b]0;pwned\\x07\\x9b2J\\u202e';
  t.equal(everywhere.message, `no ${safe}: ${safe} is gone\nsecond line; did you mean ${safe}?`);
  t.equal(everywhere.what, `no ${name}`, 'the parts are as they were given');
  t.end();
});

t.test('classes are told apart, and another copy of the package is recognised', (t) => {
  const error = new FormatError({ code: 'E_X', what: 'bad' });
  t.ok(error instanceof RawbpfError);
  t.ok(error instanceof FormatError);
  t.notOk(error instanceof UsageError);
  t.notOk(new Error('x') instanceof RawbpfError);
  t.ok(Object.assign(new Error('x'), { isRawbpfError: true }) instanceof RawbpfError);
  t.end();
});
