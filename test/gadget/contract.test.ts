import t from 'tap';
import { Btf, BtfBuilder, BTF_LINKAGE } from '../../src/btf/index.ts';
import type { MapSpec, ObjectSpec, ProgramSpec } from '../../src/bpf/object/spec.ts';
import { discoverGadget } from '../../src/gadget/contract.ts';
import { openFixture } from './fixture.ts';

void t.test('every declaration of the fixture is found', (t) => {
  const { contract } = openFixture();
  t.same(
    contract.tracers.map(({ name, map, struct, lostMap }) => ({ name, map, struct, lostMap })),
    [
      { name: 'first', map: 'events', struct: 'event', lostMap: 'events_lost_samples' },
      { name: 'second', map: 'others', struct: 'shapes', lostMap: null },
    ],
  );
  t.same(contract.bufferMaps, ['events', 'others']);
  t.same(
    contract.iterators.map(({ name, struct, programs }) => ({ name, struct, programs })),
    [{ name: 'tasks', struct: 'gadget_process', programs: ['dump'] }],
  );
  t.same(
    contract.mapIterators.map(({ name, map }) => ({ name, map })),
    [{ name: 'tops', map: 'counts' }],
  );
  t.same(contract.iteratorTargets, [{ program: 'dump', map: 'counts' }]);
  t.same(
    contract.params.map(({ variable }) => variable.name),
    ['targ_pid', 'targ_uid', 'targ_comm', 'ignore_failed', 'level', 'limit', 'ratio', 'color', 'target'],
  );
  t.same(
    contract.variables.map(({ name }) => name),
    ['gadget_var_answer'],
  );
  t.equal(contract.filtersByMntns, true);
  t.equal(contract.usesSockets, false);
  t.same(
    contract.notices.map((notice) => /variable (\w+)/.exec(notice)?.[1] ?? '').toSorted((a, b) => (a < b ? -1 : 1)),
    ['gadget_param_number', 'gadget_param_static'],
    'variables that only look like declarations are told',
  );
  t.end();
});

/** An object with these marker variables, the map `events` (a ring buffer), the map `plain` (an array), the struct `event` and the program `run`. */
function objectWith(...markers: readonly string[]): ObjectSpec {
  const builder = new BtfBuilder();
  const constVoid = builder.add({ kind: 'CONST', name: '', typeId: 0, attribute: false });
  const pointer = builder.add({ kind: 'PTR', name: '', typeId: constVoid, attribute: false });
  const int = builder.add({ kind: 'INT', name: 'int', size: 4, encoding: 1, bitOffset: 0, bits: 32 });
  const event = builder.add({ kind: 'STRUCT', name: 'event', size: 4, members: [{ name: 'x', typeId: int, bitOffset: 0, bitSize: 0 }] });
  const anonymous = builder.add({ kind: 'STRUCT', name: '', size: 4, members: [{ name: 'y', typeId: int, bitOffset: 0, bitSize: 0 }] });
  builder.add({ kind: 'TYPEDEF', name: 'event_t', typeId: anonymous, attribute: false });
  for (const name of markers) builder.add({ kind: 'VAR', name, typeId: pointer, linkage: BTF_LINKAGE.GLOBAL });
  const map = (name: string, type: number, typeId = 0): MapSpec =>
    ({ name, type, keyTypeId: typeId, valueTypeId: typeId, origin: 'btf', data: null }) as unknown as MapSpec;
  const bss = { name: '.bss', type: 2, origin: 'bss', data: new Uint8Array(8) } as unknown as MapSpec;
  return {
    name: 'crafted',
    btf: Btf.parse(builder.encode()),
    maps: [map('events', 27), map('old', 4), map('plain', 2), map('hash', 1, event), map('numbers', 1), bss],
    programs: [{ name: 'run' } as unknown as ProgramSpec],
    variables: [{ name: 'mutable', map: '.bss', offset: 0, size: 4, typeId: int, linkage: 'global' }],
  } as unknown as ObjectSpec;
}

void t.test('declarations in other forms', (t) => {
  const found = discoverGadget(
    objectWith(
      'gadget_tracer_a_b___events___event',
      'gadget_tracer_old___old___event_t',
      'gadget_snapshotter_s___event___run',
      'gadget_other_x',
      'gadget_mapiter_m___hash',
    ),
  );
  t.same(
    found.tracers.map(({ name, map, struct }) => [name, map, struct]),
    [
      ['a_b', 'events', 'event'],
      ['old', 'old', 'event_t'],
    ],
    'a single underscore is part of a name; perf event arrays and typedefs of structs are allowed',
  );
  t.equal(found.iterators[0]?.name, 's');
  t.equal(found.mapIterators[0]?.map, 'hash');
  t.end();
});

void t.test('broken declarations are named', (t) => {
  const cases: readonly (readonly [code: string, message: RegExp, ...markers: string[]])[] = [
    ['E_GADGET_DECLARATION', /gadget_tracer_x\).*GADGET_TRACER/, 'gadget_tracer_x'],
    ['E_GADGET_DECLARATION', /gadget_tracer_x___y\)/, 'gadget_tracer_x___y'],
    ['E_GADGET_DECLARATION', /parts/, 'gadget_tracer_x___events___event___more'],
    ['E_GADGET_DECLARATION', /parts/, 'gadget_tracer____events___event'],
    ['E_GADGET_DECLARATION', /parts/, 'gadget_iter_x___event'],
    ['E_GADGET_DECLARATION', /parts/, 'gadget_mapiter_x'],
    ['E_GADGET_DECLARATION', /two data sources/, 'gadget_tracer_x___events___event', 'gadget_iter_x___event___run'],
    ['E_GADGET_MAP', /map that is not there: event .*did you mean events/s, 'gadget_tracer_x___event___event'],
    ['E_GADGET_MAP', /no buffer/, 'gadget_tracer_x___plain___event'],
    ['E_GADGET_MAP', /two tracers.*x and y/, 'gadget_tracer_x___events___event', 'gadget_tracer_y___events___event'],
    ['E_GADGET_MAP', /hash map/, 'gadget_mapiter_x___plain'],
    ['E_GADGET_MAP', /key and value are structs/, 'gadget_mapiter_x___numbers'],
    ['E_GADGET_MAP', /not there: gone/, 'gadget_map_tracer_gone'],
    ['E_GADGET_EVENT', /struct that is not there: evnt .*did you mean event\?/s, 'gadget_tracer_x___events___evnt'],
    ['E_GADGET_EVENT', /not there: int/, 'gadget_tracer_x___events___int'],
    ['E_GADGET_PROGRAM', /program that is not there: ran .*did you mean run/s, 'gadget_iter_x___event___ran'],
    ['E_GADGET_PROGRAM', /not there: ran/, 'gadget_mapelem_iter_target_ran___hash'],
    ['E_GADGET_PARAM', /variable that is not there: nothing/, 'gadget_param_nothing'],
    ['E_GADGET_PARAM', /no constant.*const volatile/s, 'gadget_param_mutable'],
  ];
  for (const [code, message, ...markers] of cases) {
    t.throws(() => discoverGadget(objectWith(...markers)), { code, message }, markers.join(', '));
  }
  t.throws(() => discoverGadget({ ...objectWith(), btf: null }), { code: 'E_GADGET_BTF' });
  t.end();
});

void t.test('hostile names end up in messages only, escaped', (t) => {
  try {
    discoverGadget(objectWith('gadget_tracer_x___../../\u001b[31m___event'));
    t.fail('no error');
  } catch (error) {
    t.match((error as Error).message, /E|not there/);
    t.notMatch((error as Error).message, /\p{Cc}/u, 'no escape sequence reaches the terminal');
  }
  t.doesNotThrow(() => discoverGadget(objectWith('gadget_tracer_constructor___events___event')));
  t.end();
});
