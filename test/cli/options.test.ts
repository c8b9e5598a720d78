import t from 'tap';
import { UsageError } from '../../src/error.ts';
import { parseOptions, type OptionSpec } from '../../src/cli/options.ts';

const specs: readonly OptionSpec[] = [
  { name: 'output', short: 'o', value: 'FORMAT', help: 'how' },
  { name: 'json', help: 'as json' },
  { name: 'fields', value: 'A,B', multiple: true, help: 'which' },
];

t.test('options and operands in every spelling', (t) => {
  const rows: readonly [readonly string[], string | null, readonly string[]][] = [
    [['-o', 'json', 'a'], 'json', ['a']],
    [['-ojson', 'a', 'b'], 'json', ['a', 'b']],
    [['-o=json'], 'json', []],
    [['a', '--output', 'json', 'b'], 'json', ['a', 'b']],
    [['--output=json'], 'json', []],
    [['--output='], '', []],
    [['--', '-o', 'json'], null, ['-o', 'json']],
    [['-'], null, ['-']],
    [['--output', '--json'], '--json', []],
  ];
  for (const [args, output, operands] of rows) {
    const { options } = parseOptions(args, specs);
    t.equal(options.text('output'), output, args.join(' '));
    t.same(options.operands, operands, args.join(' '));
  }
  t.same(parseOptions(['--fields', 'a', '--fields=b'], specs).options.all('fields'), ['a', 'b']);
  t.end();
});

t.test('stopping at the first operand gives the rest back', (t) => {
  const { options, rest } = parseOptions(['--json', 'trace_exec', '--pid', '3'], specs, true);
  t.ok(options.flag('json'));
  t.same(rest, ['trace_exec', '--pid', '3']);
  t.end();
});

t.test('mistakes are named', (t) => {
  const rows: readonly [readonly string[], RegExp][] = [
    [['--outptu', 'x'], /unknown option --outptu: did you mean --output\?/],
    [['-x'], /unknown option -x/],
    [['--output'], /--output needs a value/],
    [['--json', '--json'], /--json is given twice/],
    [['--json=maybe'], /--json is a switch: it takes true or false, not maybe/],
  ];
  for (const [args, message] of rows) {
    t.throws(() => parseOptions(args, specs).options.flag('json'), { code: 'E_USAGE', message }, args.join(' '));
    t.throws(() => parseOptions(args, specs).options.flag('json'), UsageError);
  }
  t.end();
});

t.test('values are checked', (t) => {
  const of = (...args: string[]) => parseOptions(args, [{ name: 'n', value: 'N', help: '' }]).options;
  t.equal(of('--n', '12').integer('n', { min: 0, max: 100 }), 12);
  t.equal(of('--n', '1.5').seconds('n'), 1.5);
  t.equal(of().integer('n', { min: 0, max: 100 }), null);
  for (const bad of ['x', '1.5', '101', '-1', '', '0x10', '1e2'])
    t.throws(() => of('--n', bad).integer('n', { min: 0, max: 100 }), UsageError, bad);
  for (const bad of ['x', '-1', '', '1e9', 'Infinity']) t.throws(() => of('--n', bad).seconds('n'), UsageError, bad);
  t.throws(() => of('--n', 'jso').choice('n', ['json', 'yaml']), { message: /one of json, yaml; did you mean json\?/ });
  t.end();
});
