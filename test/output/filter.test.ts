import t from 'tap';
import { compileFilter } from '../../src/output/filter.ts';
import { sourceFixture } from '../gadget/fixture.ts';

void t.test('filters against the event that the fixture has', (t) => {
  const { source, record } = sourceFixture('event');
  const cases: readonly (readonly [filter: string, wanted: boolean])[] = [
    ['proc.pid==4242', true],
    ['proc.pid=4242', true],
    ['proc.pid != 4242', false],
    ['pid<4243', true],
    ['proc.pid<=4241', false],
    ['proc.pid>4241.5', true],
    ['proc.pid>=0x1092', true],
    ['proc.pid>-1', true],
    ['proc.creds.gid==4294967294', true],
    ['proc.creds.gid>4294967294', false],
    ['timestamp_raw==1700123456789012345', true],
    ['timestamp_raw<1700123456789012346', true],
    ['timestamp_raw<1700123456789012345', false],
    ['proc.mntns_id==4026531841', true],
    ['proc.mntns_id!=4026531841', false],
    ['proc.mntns_id>4026531840', true],
    ['proc.mntns_id<18446744073709551615', true],
    ['proc.mntns_id<99999999999999999999', true],
    ['proc.mntns_id>-1', true],
    ['proc.mntns_id>4026531840.5', true],
    ['proc.mntns_id==4026531841.5', false],
    ['color_raw==-1', true],
    ['color==BLUE', true],
    ['error==ENOENT', true],
    ['error=ENOEN', false],
    ['error!=ENOENT', false],
    ['error~^ENO', true],
    ['error!~^ENO', false],
    ['error~[', true],
    ['proc.parent.comm==exactly16bytes!!', true],
    ['proc.parent.comm==exactly16bytes!!!', false],
    ['proc.parent.comm!=exactly16bytes!!!', true],
    ['proc.parent.comm==exactly', false],
    ['proc.parent.comm<f', true],
    ['proc.parent.comm>exactly', true],
    ['syscall~OPEN', true],
    ['to.addr==2001:db8::1,to.port==443', true],
    ['to.addr==2001:db8::1,to.port==80', false],
    ['args~"b', true],
    ['flags~O_CREAT\\,|O_CREAT', true],
    ['proc.comm~^sh\\n', true],
  ];
  for (const [filter, wanted] of cases) {
    if (filter === 'error~[') {
      t.throws(() => compileFilter(source, filter), { code: 'E_FILTER', message: /regular expression/ });
      continue;
    }
    t.equal(compileFilter(source, filter)(record), wanted, filter);
  }
  t.end();
});

void t.test('a regular expression is of RE2 and takes linear time, whatever the text', (t) => {
  const { source, record } = sourceFixture('event');
  t.throws(() => compileFilter(source, 'error~a(?=b)'), { code: 'E_FILTER', message: /lookahead is not supported, at character 2/ });
  t.throws(() => compileFilter(source, 'error!~(a)\\1'), { code: 'E_FILTER', message: /backreferences are not supported, at character 4/ });
  // A file's name of 4,095 characters, as a hostile program may open it.
  const field = source.field('error');
  const hostile = `${'a'.repeat(4_094)}!`;
  Object.defineProperty(field, 'text', { value: () => hostile });
  const start = process.cpuUsage();
  t.equal(compileFilter(source, 'error~^(a+)+$')(record), false);
  t.equal(compileFilter(source, 'error!~^(([a-z])+.)+[A-Z]([a-z])+$')(record), true);
  const { user, system } = process.cpuUsage(start);
  t.ok(user + system < 1_000_000, `${user + system} us`);
  t.end();
});

void t.test('numbers past 2^53 are told apart', (t) => {
  const { source, record } = sourceFixture('shapes');
  const cases: readonly (readonly [string, boolean])[] = [
    ['u64==18446744073709551615', true],
    ['u64==18446744073709551614', false],
    ['u64>18446744073709551614', true],
    ['s64==-9223372036854775808', true],
    ['s64<-9223372036854775807', true],
    ['u128==1512366075204170947332355369683137040', true],
    ['s128<0', true],
    ['wide==1099511627775', true],
    ['middle==-33', true],
    ['f64==0.1', true],
    ['f64<0.1', false],
    ['f64>1e-3', true],
    ['yes==true', true],
    ['yes==false', false],
    ['yes!=0', true],
    ['text==h\u00e9\ufffd\ufffdz', true],
    ['full==full', true],
    ['names~ab', true],
    ['where.y==-4', true],
  ];
  for (const [filter, wanted] of cases) t.equal(compileFilter(source, filter)(record), wanted, filter);
  t.end();
});

void t.test('every value of a byte, by all operators', (t) => {
  const { source, record, bytes } = sourceFixture('shapes');
  const at = source.field('s8').offset;
  const operators: Readonly<Record<string, (a: number, b: number) => boolean>> = {
    '==': (a, b) => a === b,
    '!=': (a, b) => a !== b,
    '<': (a, b) => a < b,
    '<=': (a, b) => a <= b,
    '>': (a, b) => a > b,
    '>=': (a, b) => a >= b,
  };
  let wrong = 0;
  for (const [operator, compare] of Object.entries(operators)) {
    for (const limit of [-128, -1, 0, 5, 127]) {
      const filter = compileFilter(source, `s8${operator}${limit}`);
      for (let value = -128; value < 128; value++) {
        bytes[at] = value & 0xff;
        if (filter(record) !== compare(value, limit)) wrong++;
      }
    }
  }
  t.equal(wrong, 0);
  t.end();
});

void t.test('filters that cannot be read', (t) => {
  const { source } = sourceFixture('event');
  const cases: readonly (readonly [filter: string, code: string, message: RegExp])[] = [
    ['', 'E_FILTER', /empty/],
    ['proc.pid', 'E_FILTER', /FIELD OP VALUE/],
    ['==5', 'E_FILTER', /FIELD OP VALUE/],
    ['proc.pidd==5', 'E_FIELD', /did you mean proc\.pid/],
    ['proc==5', 'E_FILTER', /struct/],
    ['proc.pid==abc', 'E_FILTER', /number/],
    ['proc.pid==', 'E_FILTER', /number/],
    ['proc.pid==1,', 'E_OK', /./],
  ];
  for (const [filter, code, message] of cases) {
    if (code === 'E_OK') t.doesNotThrow(() => compileFilter(source, filter));
    else t.throws(() => compileFilter(source, filter), { code, message }, filter);
  }
  t.end();
});
