import t from 'tap';
import { parseMetadata } from '../../src/gadget/metadata.ts';

const full = `name: trace open
description: shows files
homepageURL: https://example.org
annotations:
  enable-containers-datasource: true
datasources:
  open:
    annotations: { cli.clear-screen-before: "true", fetch-interval: 1s }
    fields:
      fname:
        annotations:
          columns.width: 32
          columns.hidden: no
          template: comm
      proc.pid: &hidden
        annotations: { columns.hidden: true }
      proc.tid: *hidden
params:
  ebpf:
    targ_failed:
      key: failed
      defaultValue: false
      description: Only failed
      alias: f
      isMandatory: true
      possibleValues: [a, b]
    limit: { key: limit, defaultValue: 0x10 }
programs:
  ig_open_e: { attach_to: "tracepoint" }
  ig_alt: { alternativeOf: opens, enabledBy: 'trace_all, trace_open' }
  profiler:
    perf: { type: software, config: count_sw_cpu_clock, sampleType: sample_raw }
    sampler: { frequency: 99 }
operator:
  ebpf: { emitstats: true }
`;

void t.test('a whole gadget.yaml', (t) => {
  const metadata = parseMetadata(full, 'gadget.yaml');
  t.equal(metadata.name, 'trace open');
  t.equal(metadata.annotations.get('enable-containers-datasource'), 'true');
  const open = metadata.datasources.get('open');
  t.equal(open?.annotations.get('fetch-interval'), '1s');
  t.same(Object.fromEntries(open?.fields.get('fname') ?? []), { 'columns.width': '32', 'columns.hidden': 'no', template: 'comm' });
  t.equal(open?.fields.get('proc.tid')?.get('columns.hidden'), 'true', 'through an alias');
  t.same(metadata.params.get('targ_failed'), {
    key: 'failed',
    defaultValue: 'false',
    title: '',
    description: 'Only failed',
    alias: 'f',
    isMandatory: true,
    possibleValues: ['a', 'b'],
    tags: [],
  });
  t.equal(metadata.params.get('limit')?.defaultValue, '0x10', 'numbers as they are written');
  t.equal(metadata.programs.get('ig_open_e')?.attachTo, 'tracepoint');
  t.same(metadata.programs.get('ig_alt')?.enabledBy, ['trace_all', 'trace_open']);
  t.same(metadata.programs.get('profiler'), {
    attachTo: null,
    perf: { type: 'software', config: 'count_sw_cpu_clock', sampleType: 'sample_raw' },
    frequency: 99,
    period: null,
    enabledBy: [],
  });
  t.same([...metadata.alternatives], [['ig_alt', 'opens']]);
  t.same([...metadata.operators], [['ebpf.emitstats', 'true']]);
  t.same(metadata.notices, []);
  t.end();
});

void t.test('the older spelling of params, and nothing at all', (t) => {
  t.equal(parseMetadata('ebpfParams:\n  x: {key: y}\n', 'f').params.get('x')?.key, 'y');
  for (const text of ['', '# nothing\n', 'datasources:\nparams:\n']) t.equal(parseMetadata(text, 'f').name, '');
  t.end();
});

void t.test('errors have file, line and column', (t) => {
  // Lines and columns counted by hand.
  const cases: readonly (readonly [text: string, line: number, column: number, why: RegExp])[] = [
    ['name: [a\ndescription: b\n', 2, 1, /./],
    ['name: a\nname: b\n', 2, 1, /unique/],
    ['name: {a: b}\n', 1, 7, /name must be text/],
    ['params:\n  ebpf:\n    x: 1\n', 3, 8, /params\.ebpf\.x must be a mapping/],
    ['params:\n  ebpf: [x]\n', 2, 9, /params\.ebpf must be a mapping/],
    ['programs:\n  p:\n    sampler: {frequency: often}\n', 3, 26, /must be a number/],
    ['- a\n- b\n', 1, 1, /gadget\.yaml must be a mapping/],
    ['name: "a\n', 2, 1, /./],
    ['datasources:\n  x:\n    fields:\n      f:\n        annotations: {a: [1]}\n', 5, 26, /must be text/],
    ['name: *nobody\n', 1, 7, /./],
  ];
  for (const [text, line, column, why] of cases) {
    t.throws(
      () => parseMetadata(text, 'dir/gadget.yaml'),
      { code: 'E_GADGET_YAML', where: { file: 'dir/gadget.yaml', line, column }, message: why },
      JSON.stringify(text),
    );
  }
  t.end();
});

void t.test('unknown keys are told with their places', (t) => {
  const { notices } = parseMetadata('nmae: x\nparams:\n  ebpf:\n    a: {kee: b}\n  wasm: {x: {key: y}}\n', 'g.yaml');
  t.match(notices, [/^g\.yaml:1:1: unknown key nmae$/, /^g\.yaml:4:9: unknown key params\.ebpf\.a\.kee$/, /^g\.yaml:5:3: params\.wasm/]);
  t.end();
});

void t.test('hostile files end soon, and touch no prototype', (t) => {
  const bomb = ['a0: &a0 {x: y}', ...Array.from({ length: 30 }, (_, i) => `a${i + 1}: &a${i + 1} {p: *a${i}, q: *a${i}, r: *a${i}}`)].join(
    '\n',
  );
  const start = performance.now();
  t.throws(() => parseMetadata(`${bomb}\noperator: {o: *a30}\n`, 'f'), { code: 'E_GADGET_YAML' });
  t.ok(performance.now() - start < 3000);
  t.throws(() => parseMetadata('['.repeat(100_000), 'f'));
  const polluted = parseMetadata(
    'datasources:\n  __proto__:\n    fields: {constructor: {annotations: {__proto__: x}}}\nparams: {ebpf: {__proto__: {key: k}}}\n',
    'f',
  );
  t.equal(polluted.params.get('__proto__')?.key, 'k');
  t.equal(({} as Record<string, unknown>)['key'], undefined);
  t.end();
});

void t.test('every beginning of a file is read or refused', (t) => {
  let read = 0;
  for (let length = 0; length <= full.length; length++) {
    try {
      parseMetadata(full.slice(0, length), 'f');
      read++;
    } catch (error) {
      if ((error as { code?: string }).code !== 'E_GADGET_YAML') throw error;
    }
  }
  t.ok(read > 0);
  t.end();
});

t.test('what is nested too deep for the parser is said in words', (t) => {
  for (const open of ['[', '{a: ']) {
    t.throws(() => parseMetadata(`name: x\nfoo: ${open.repeat(4_000)}`, 'f'), { code: 'E_GADGET_YAML', message: /nested too deep/ }, open);
  }
  // Of these the parser takes a time that is the square of their number, and more.
  for (const open of ['- ', '? ', ': ']) {
    t.throws(
      () => parseMetadata(`name: x\nfoo:\n  ${open.repeat(20_000)}`, 'f'),
      { code: 'E_GADGET_YAML', message: /line 3, .*nested too deep/ },
      open,
    );
  }
  t.end();
});
