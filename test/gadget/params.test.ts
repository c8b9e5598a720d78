import t from 'tap';
import { noMetadata, parseMetadata } from '../../src/gadget/metadata.ts';
import { parseInteger } from '../../src/gadget/param-codec.ts';
import { describeParam, GadgetParams, type ParamValue } from '../../src/gadget/params.ts';
import { openFixture } from './fixture.ts';

function fixture(yaml = ''): { readonly params: GadgetParams; readonly bytesOf: (variable: string) => string } {
  const { spec, contract } = openFixture();
  const params = new GadgetParams(spec, contract, yaml === '' ? noMetadata : parseMetadata(yaml, 'gadget.yaml'));
  return {
    params,
    bytesOf(name) {
      const variable = spec.variables.find((candidate) => candidate.name === name);
      const data = spec.maps.find((map) => map.name === variable?.map)?.data;
      if (variable === undefined || !data) throw new Error(`no ${name}`);
      return Buffer.from(data.subarray(variable.offset, variable.offset + variable.size)).toString('hex');
    },
  };
}

void t.test('what there is, with the defaults of the object', (t) => {
  const { params } = fixture();
  t.same(
    params.list.map(({ key, typeHint, defaultValue }) => [key, typeHint, defaultValue]),
    [
      ['pid', 'uint32', '0'],
      ['uid', 'uint32', '4294967295'],
      ['comm', 'string', ''],
      ['ignore_failed', 'bool', 'true'],
      ['level', 'int8', '-3'],
      ['limit', 'uint64', '10000000000'],
      ['ratio', 'float64', '0.25'],
      ['color', 'enum', 'GREEN'],
      ['target', 'ip', '0.0.0.0'],
    ],
  );
  t.same(params.find('color')?.possibleValues, ['RED', 'GREEN', 'BLUE']);
  t.same(params.find('level')?.range, ['-128', '127']);
  t.equal(params.find('comm')?.maxBytes, 16);
  t.end();
});

void t.test('values become the bytes of their C types', (t) => {
  // python3 -c "import struct; print(struct.pack('<i', -5).hex())" and the like; addresses by socket.inet_pton.
  const cases: readonly (readonly [key: string, variable: string, value: ParamValue, hex: string])[] = [
    ['pid', 'targ_pid', '1234', 'd2040000'],
    ['pid', 'targ_pid', 4294967295, 'ffffffff'],
    ['pid', 'targ_pid', '0x10', '10000000'],
    ['uid', 'targ_uid', '0', '00000000'],
    ['comm', 'targ_comm', 'bash', '62617368000000000000000000000000'],
    ['comm', 'targ_comm', 'exactly16bytes!!', '65786163746c79313662797465732121'],
    ['comm', 'targ_comm', 'h\u00e9', '68c3a900000000000000000000000000'],
    ['comm', 'targ_comm', '', '00000000000000000000000000000000'],
    ['ignore_failed', 'ignore_failed', 'false', '00'],
    ['ignore_failed', 'ignore_failed', true, '01'],
    ['ignore_failed', 'ignore_failed', '', '01'],
    ['level', 'level', '-128', '80'],
    ['limit', 'limit', '18446744073709551615', 'ffffffffffffffff'],
    ['limit', 'limit', 9007199254740993n, '0100000000002000'],
    ['ratio', 'ratio', '-1.5e-3', 'fa7e6abc749358bf'],
    ['ratio', 'ratio', 'inf', '000000000000f07f'],
    ['color', 'color', 'BLUE', 'ffffffff'],
    ['color', 'color', 'red', '00000000'],
    ['color', 'color', '5', '05000000'],
    ['target', 'target', '192.0.2.1', `c0000201${'00'.repeat(12)}04${'00'.repeat(15)}`],
    ['target', 'target', '2001:db8::1', `20010db8${'00'.repeat(11)}0106${'00'.repeat(15)}`],
    ['target', 'target', '::ffff:192.0.2.1', `${'00'.repeat(10)}ffffc000020106${'00'.repeat(15)}`],
    ['target', 'target', '::', `${'00'.repeat(16)}06${'00'.repeat(15)}`],
  ];
  const { params, bytesOf } = fixture();
  for (const [key, variable, value, hex] of cases) {
    params.apply(new Map([[key, value]]));
    t.equal(bytesOf(variable), hex, `--${key} ${JSON.stringify(String(value))}`);
  }
  params.apply();
  t.equal(bytesOf('targ_comm'), '00'.repeat(16), 'what an earlier run set does not stay');
  t.equal(bytesOf('level'), 'fd');
  t.end();
});

void t.test('values that do not fit name the flag and what it takes', (t) => {
  const cases: readonly (readonly [key: string, value: ParamValue, why: RegExp])[] = [
    ['pid', '-1', /--pid: -1.*from 0 to 4294967295/],
    ['pid', '4294967296', /from 0 to 4294967295/],
    ['pid', 'self', /whole number from 0 to 4294967295/],
    ['pid', '1.5', /whole number/],
    ['pid', '', /--pid: nothing/],
    ['pid', '1e3', /whole number/],
    ['level', '128', /from -128 to 127/],
    ['limit', '18446744073709551616', /from 0 to 18446744073709551615/],
    ['comm', 'a name of 17 byte', /at most 16 bytes, these are 17/],
    ['comm', '\u00e9'.repeat(9), /at most 16 bytes, these are 18/],
    ['comm', 'a\0b', /NUL/],
    ['ignore_failed', 'maybe', /true or false/],
    ['ratio', 'half', /number/],
    ['color', 'GREN', /did you mean GREEN/],
    ['color', 'mauve', /enum color/],
    ['color', '99999999999', /from/],
    ['target', '192.0.2.256', /address/],
    ['target', 'fe80::1%eth0', /address/],
    ['nope', '1', /no parameter --nope/],
    ['pids', '1', /did you mean pid/],
  ];
  const { params, bytesOf } = fixture();
  for (const [key, value, why] of cases) {
    t.throws(
      () =>
        params.apply(
          new Map<string, ParamValue>([
            ['uid', '7'],
            [key, value],
          ]),
        ),
      { code: 'E_PARAM', message: why },
      `--${key} ${JSON.stringify(String(value))}`,
    );
  }
  t.equal(bytesOf('targ_uid'), 'ffffffff', 'nothing is written where one does not fit');
  t.end();
});

void t.test('gadget.yaml names flags, sets defaults and limits choices', (t) => {
  const yaml = `params:
  ebpf:
    ignore_failed: {key: ignore-failed, defaultValue: "false", description: Leave out failures, alias: i}
    level: {key: loudness, possibleValues: ["1", "2"], isMandatory: true}
    color: {defaultValue: BLUE}
`;
  const { params, bytesOf } = fixture(yaml);
  const given = (level: string): Map<string, string> => new Map([['loudness', level]]);
  params.apply(given('2'));
  t.equal(bytesOf('ignore_failed'), '00', 'the default of gadget.yaml counts');
  t.equal(bytesOf('color'), 'ffffffff');
  t.equal(bytesOf('level'), '02');
  params.apply(new Map([...given('1'), ['ignore-failed', 'true']]));
  t.equal(bytesOf('ignore_failed'), '01');
  t.throws(() => params.apply(given('3')), { code: 'E_PARAM', message: /1, 2/ });
  t.throws(() => params.apply(), { code: 'E_PARAM', message: /--loudness must be given/ });
  t.same(describeParam(params.find('ignore-failed') as NonNullable<ReturnType<typeof params.find>>), {
    flag: '-i, --ignore-failed',
    text: 'Leave out failures (default false)',
  });
  t.throws(() => fixture('params: {ebpf: {level: {defaultValue: "300"}}}'), {
    code: 'E_GADGET_PARAM',
    message: /level.*300.*-128 to 127/s,
  });
  t.throws(() => fixture('params: {ebpf: {level: {key: pid}}}'), { code: 'E_GADGET_PARAM', message: /two parameters/ });
  t.end();
});

void t.test('whole numbers', (t) => {
  const cases: readonly (readonly [string, bigint | null])[] = [
    ['0', 0n],
    ['-0', 0n],
    ['+7', 7n],
    ['0x1F', 31n],
    ['-0x10', -16n],
    ['0b101', 5n],
    ['0o17', 15n],
    [' 5 ', 5n],
    ['', null],
    ['-', null],
    ['5n', null],
    ['0x', null],
    ['1_000', null],
    ['\u0665', null],
  ];
  for (const [text, value] of cases) t.equal(parseInteger(text), value, JSON.stringify(text));
  t.end();
});
