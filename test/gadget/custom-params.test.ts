import t from 'tap';
import { parseMetadata } from '../../src/gadget/metadata.ts';

const yaml = `name: made
programs:
  profiler:
    perf: { type: software, config: count_sw_cpu_clock }
    sampler: { frequency: '{{ getParamValue "custom.frequency" }}' }
datasources:
  rows:
    annotations: { fetch-interval: 1s, title: '{{ getConfig "name" }}' }
    fields:
      pid: { annotations: { columns.hidden: true, columns.width: 9 } }
params:
  custom:
    frequency: { description: Samples a second, defaultValue: 49 }
    view:
      description: What to show
      values:
        short: { patch: { datasources: { rows: { fields: { pid: { annotations: { columns.hidden: false } } } } } } }
        none: {}
    every:
      patch: { datasources: { rows: { annotations: { fetch-interval: '{{ getParamValue "custom.every" }}' } } } }
`;

void t.test('parameters of gadget.yaml’s own', (t) => {
  const plain = parseMetadata(yaml, 'gadget.yaml');
  t.same(plain.custom, [
    { name: 'frequency', description: 'Samples a second', defaultValue: '49', possibleValues: [] },
    { name: 'view', description: 'What to show', defaultValue: '', possibleValues: ['short', 'none'] },
    { name: 'every', description: '', defaultValue: '', possibleValues: [] },
  ]);
  t.same(plain.notices, []);
  const source = plain.datasources.get('rows');
  t.equal(plain.programs.get('profiler')?.frequency, 49, 'the default');
  t.equal(source?.annotations.get('fetch-interval'), '1s');
  t.equal(source?.annotations.get('title'), '{{ getConfig "name" }}', 'what other tools know is left alone');
  t.equal(source?.fields.get('pid')?.get('columns.hidden'), 'true');

  const changed = parseMetadata(
    yaml,
    'gadget.yaml',
    new Map([
      ['frequency', '99'],
      ['view', 'short'],
      ['every', '5s'],
    ]),
  );
  const other = changed.datasources.get('rows');
  t.equal(changed.programs.get('profiler')?.frequency, 99);
  t.same([other?.fields.get('pid')?.get('columns.hidden'), other?.fields.get('pid')?.get('columns.width')], ['false', '9'], 'merged');
  t.equal(other?.annotations.get('fetch-interval'), '5s');
  t.end();
});

void t.test('bad values and bad declarations', (t) => {
  t.throws(() => parseMetadata(yaml, 'gadget.yaml', new Map([['view', 'long']])), { code: 'E_PARAM', message: /short, none/ });
  t.throws(() => parseMetadata(yaml, 'gadget.yaml', new Map([['frequency', 'often']])), {
    code: 'E_GADGET_YAML',
    message: /sampler.frequency must be a number/,
  });
  for (const [text, why] of [
    ['params: {custom: 1}', /line 1, column 18.*must be a mapping/],
    ['params:\n  custom:\n    a: 1', /line 3, column 8/],
    ['params: {custom: {a: {patch: 1, defaultValue: x}}}', /a patch must be a mapping/],
    ['name: \'{{ getParamValue "custom.b" }}\'\nparams: {custom: {a: {}}}', /line 1, column 7.*params.custom.b/],
  ] as const) {
    t.throws(() => parseMetadata(text, 'gadget.yaml'), { code: 'E_GADGET_YAML', message: why }, text);
  }
  t.end();
});
