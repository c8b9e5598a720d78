// What binutils 2.40 says of the same names: `c++filt -p` of C++, `c++filt -s rust -i` of Rust.
import t from 'tap';
import { demangle } from '../../../src/gadget/symbols/demangle.ts';

const expected: readonly (readonly [string, string])[] = [
  ['_ZN3foo3barEi', 'foo::bar'],
  ['_ZN3fooC1Ev', 'foo::foo'],
  ['_ZN3fooD2Ev', 'foo::~foo'],
  ['_ZNK3foo4sizeEv', 'foo::size'],
  ['_ZNKR3foo4sizeEv', 'foo::size'],
  ['_Z3addii', 'add'],
  ['_ZN4node9inspector5Agent5StartERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE', 'node::inspector::Agent::Start'],
  ['_ZN12_GLOBAL__N_13runEv', '(anonymous namespace)::run'],
  ['_ZN2v88internal4Heap14CollectGarbageENS0_15AllocationSpaceE', 'v8::internal::Heap::CollectGarbage'],
  ['_ZSt9terminatev', 'std::terminate'],
  ['_ZNSt6thread4joinEv', 'std::thread::join'],
  ['_ZN3foo3barEi.cold', 'foo::bar'],
  ['_ZN3foo3barEi.constprop.0', 'foo::bar'],
  ['main', 'main'],
  ['_ZN4core3fmt9Formatter9write_str17h3a1b5c7d9e2f4068E', 'core::fmt::Formatter::write_str'],
  ['_ZN4test4main28_$u7b$$u7b$closure$u7d$$u7d$17h3a1b5c7d9e2f4068E', 'test::main::{{closure}}'],
  ['_ZN50_$LT$$RF$mut$u20$W$u20$as$u20$core..fmt..Write$GT$9write_str17h3a1b5c7d9e2f4068E', '<&mut W as core::fmt::Write>::write_str'],
  ['_ZN36_$LT$T$u20$as$u20$core..any..Any$GT$7type_id17h3a1b5c7d9e2f4068E', '<T as core::any::Any>::type_id'],
  [
    '_ZN66_$LT$alloc..vec..Vec$LT$T$GT$$u20$as$u20$core..ops..drop..Drop$GT$4drop17h3a1b5c7d9e2f4068E',
    '<alloc::vec::Vec<T> as core::ops::drop::Drop>::drop',
  ],
];

void t.test('names of C++ and Rust', (t) => {
  for (const [name, plain] of expected) t.equal(demangle(name), plain, name);
  t.end();
});

void t.test('what is not understood stays as it is', (t) => {
  const left = [
    '_ZNSt6vectorIiSaIiEE9push_backEOi',
    '_Z3fooIiEvT_',
    '_ZplRK1AS1_',
    '_ZTV3foo',
    '_ZZ4mainE1x',
    '_RNvC6_123foo3bar',
    '_ZN',
    '_ZN3fo',
    '_ZN99fooE',
    '_ZN3foo',
    '_Z',
    '',
    'malloc',
    `_ZN${'1a'.repeat(10_000)}E`,
  ];
  for (const name of left) t.equal(demangle(name), name, name.slice(0, 40));
  t.equal(demangle('_ZN6a$u1b$17h3a1b5c7d9e2f4068E'), 'a$u1b$', 'no control characters out of escapes');
  t.end();
});
