// What binutils 2.40 says of the same names: `c++filt -p` of C++, `c++filt -i` of Rust.
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
  ['_ZNSt6vectorIiSaIiEE9push_backEOi', 'std::vector<int, std::allocator<int> >::push_back'],
  ['_Z3fooIiEvT_', 'foo<int>'],
  ['_ZplRK1AS1_', 'operator+'],
  ['_ZTV3foo', 'vtable for foo'],
  ['_ZZ4mainiE1x', 'main(int)::x'],
  ['_ZZ3fooIiEvT_E1x', 'foo<int>(int)::x'],
  ['_ZZ4mainENKUlvE_clEv', 'main::{lambda()#1}::operator()'],
  ['_ZNKSt8functionIFvvEEclEv', 'std::function<void ()>::operator()'],
  ['_ZN1AcvT_IiEEv', 'A::operator int<int>'],
  ['_ZZN1A3fooIiEEvT_ENKUlT_E_clIiEEDaS2_', 'A::foo<int>(int)::{lambda(auto:1)#1}::operator()<int>'],
  ['_ZThn16_N3foo3barEv', 'non-virtual thunk to foo::bar()'],
  ['_ZGVZ4mainE1x', 'guard variable for main::x'],
  ['_ZNSsC1Ev', 'std::basic_string<char, std::char_traits<char>, std::allocator<char> >::basic_string'],
  ['_ZNSaIcED1Ev', 'std::allocator<char>::~allocator'],
  [
    '_ZNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEC1Ev',
    'std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >::basic_string',
  ],
  ['_Z1fIXadL_Z3barvEEEvv', 'f<&(bar())>'],
  ['_Z1fIXadL_ZN1A1bEvEEEvv', 'f<&A::b>'],
  ['_ZNK1AcvbEv', 'A::operator bool'],
  ['_ZZ4mainEN3FooC1Ev', 'main::Foo::Foo'],
  ['_ZN1A1BB5cxx11Ev', 'A::B[abi:cxx11]'],
  ['_ZGR1x_', 'reference temporary #0 for x'],
  ['_Z1fIXsrSt7is_sameIiiE5valueEEvv', 'f<std::is_same<int, int>::value>'],
  ['_Z1fIXplLi5ELi6EEEvv', 'f<(5)+(6)>'],
  ['_Z1fIXquLb1ELi2ELi3EEEvv', 'f<(true)?(2) : (3)>'],
  ['_Z1fIXtl1ALi1ELi2EEEEvv', 'f<A{1, 2}>'],
  ['_Z1fILc65EEvv', 'f<(char)65>'],
  ['_Z1fIL1E3EEvv', 'f<(E)3>'],
  ['_Z1fILin5EEvv', 'f<-5>'],
  ['_ZZ1fIJiidEEvDpT_E1x', 'f<int, int, double>(int, int, double)::x'],
  ['_ZZ1fIJEEvDpT_E1x', 'f<>()::x'],
  ['_ZZ1fPFPFvvEiEE1x', 'f(void (*(*)(int))())::x'],
  ['_ZZ1fRA3_iE1x', 'f(int (&) [3])::x'],
  ['_ZZ1fM1AKFvvEE1x', 'f(void (A::*)() const)::x'],
  ['_ZZ1fPKPA3_A4_iE1x', 'f(int (* const*) [3][4])::x'],
  ['_ZTCN1AE0_1B', 'construction vtable for B-in-A'],
  ['_ZTHN1A1bE', 'TLS init function for A::b'],
  ['_ZZ1fDv4_fE1x', 'f(float __vector(4))::x'],
  ['_ZN1A1BILb0EE1CUlT_E_clIiEEvv', 'A::B<false>::C::{lambda(auto:1)#1}::operator()<int>'],
  ['_Zli2_sy', 'operator"" _s'],
  ['_ZZ1fIDTcl1gLi1EEEEvT_E1x', 'f<decltype (g(1))>(decltype (g(1)))::x'],
  ['_ZNK1A1BMUlvE_clEv', 'A::B::{lambda()#1}::operator()'],
  ['_ZSt4cout', 'std::cout'],
  ['_ZZN1AC4EvENUlPcE10_4_FUNES0_', 'A::A()::{lambda(char*)#12}::_FUN'],
  ['_RNvC6_123foo3bar', '123foo::bar'],
  [
    '_RNvXsr_NtCslNYArtu3iFV_5alloc6stringNtB5_6StringNtNtCsgEmfK2I1SDS_4core3fmt5Debug3fmt',
    '<alloc::string::String as core::fmt::Debug>::fmt',
  ],
  [
    '_RNvXsZ_NtCs8NwYtU1Mohg_4core5arrayAhj2_NtNtB7_7default7Default7defaultCsg0oAa7DM2pc_11miniz_oxide',
    '<[u8; 2] as core::default::Default>::default',
  ],
  ['_RNCNvCsb_3foo3bars_0', 'foo::bar::{closure#1}'],
  ['_RINvC3foo3barNtB2_3BazDNtC4core3FooEL_FG_RL0_hEuE', "foo::bar::<foo::Baz, dyn core::Foo, for<'a> fn(&'a u8)>"],
  ['_RNvCs_7mycrateu3_5ya', 'mycrate::ϧ'],
];

void t.test('names of C++ and Rust', (t) => {
  for (const [name, plain] of expected) t.equal(demangle(name), plain, name);
  t.end();
});

void t.test('parts that a name refers back to are looked at once, however often', (t) => {
  // Types that are functions of the one before, twice, in what f gives; then all of them in a pack that none of them is.
  const types = Array.from({ length: 40 }, (_, i) => `FvS${i.toString(36).toUpperCase()}_S${i.toString(36).toUpperCase()}_E`).join('');
  const name = `_ZZ1fIiEFvFviE${types}EvE1gIDpS14_E`;
  const from = process.cpuUsage().user;
  t.equal(demangle(name), name);
  t.ok(process.cpuUsage().user - from < 1e6, 'in less than a second, not in years');
  t.end();
});

void t.test('what is not understood stays as it is', (t) => {
  const left = [
    '_Z3fooIXgtT_Li5EEEvv',
    '_ZNH1A1bES_',
    '_ZN1AS9_E',
    '_ZN',
    '_ZN3fo',
    '_ZN99fooE',
    '_ZN3foo',
    '_Z',
    '',
    'malloc',
    '_R',
    '_RNv',
    '_RNvC3foo',
    '_RB_',
    '_RNvB0_3foo',
    `_ZN${'1a'.repeat(10_000)}E`,
    // Deep, and short names that would be long: each argument is the one before twice.
    `_ZZ1f${'P'.repeat(3000)}E1x`,
    `_Z1fI${'N'.repeat(2000)}`,
    `_RNv${'N'.repeat(3000)}`,
    `_ZZ1f1AIiS0_E${Array.from('0123456789ABCDEFGHIJKLMNOPQRSTUV', (i) => `1AIS${i}_S${i}_E`).join('')}E1x`,
  ];
  for (const name of left) t.equal(demangle(name), name, name.slice(0, 40));
  t.equal(demangle('_ZN6a$u1b$17h3a1b5c7d9e2f4068E'), 'a$u1b$', 'no control characters out of escapes');
  t.end();
});
