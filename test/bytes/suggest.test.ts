import t from 'tap';
import { didYouMean, suggest } from '../../src/bytes/suggest.ts';

const names = ['sys_enter_open', 'sys_enter_openat', 'sys_enter_openat2', 'sched_process_exec', 'x'];

t.test('near names come nearest first, far ones not at all', (t) => {
  t.same(suggest('sys_enter_opnat', names), ['sys_enter_openat', 'sys_enter_openat2', 'sys_enter_open']);
  t.same(suggest('sched_process_exce', names), ['sched_process_exec']);
  t.same(suggest('sched_proc', names), ['sched_process_exec']);
  t.same(suggest('process_exec', names), ['sched_process_exec'], 'a part of it');
  t.same(suggest('nothing_like_it', names), []);
  t.end();
});

t.test('the sentence', (t) => {
  t.equal(didYouMean('sched_process_exce', names), 'did you mean sched_process_exec?');
  t.equal(didYouMean('zzz', ['a']), '');
  t.equal(didYouMean('aa', ['ab', 'ac']), 'did you mean ab or ac?');
  t.end();
});
