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

/** Levenshtein distance, as the textbooks have it. */
function edits(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    const above = rows[i - 1] ?? [];
    for (let j = 1; j <= b.length; j++) {
      row.push(Math.min((above[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1), (above[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1));
    }
    rows.push(row);
  }
  return rows.at(-1)?.at(-1) ?? 0;
}

t.test('exactly the names within a third of the letters are near', (t) => {
  let seed = 7;
  const random = (below: number): number => (seed = (seed * 48_271) % 2_147_483_647) % below;
  const word = (): string => Array.from({ length: 4 + random(9) }, () => 'abc'.charAt(random(3))).join('');
  for (let round = 0; round < 40; round++) {
    const name = word();
    const words = [...new Set(Array.from({ length: 100 }, word))];
    const most = Math.max(2, Math.floor(name.length / 3));
    const wanted = words.filter((each) => each.includes(name) || edits(name, each) <= most);
    t.same(suggest(name, words, 1000).toSorted(), wanted.toSorted(), name);
  }
  t.end();
});

t.test('among more names than ten thousand: at most four letters, whichever they are', (t) => {
  const many = Array.from({ length: 20_000 }, (_, i) => `x${i.toString(36)}${'_filler'.repeat(i % 5)}`);
  const name = 'tcp_v4_connect_established_socket';
  const near = [
    'Tcp_v4_connect_established_socket2',
    'tcp_v4_conect_established_soket',
    'xtcp_v4_connect_stablished_socke',
    '__pfx_tcp_v4_connect_established_socket',
  ];
  t.same(suggest(name, ['ksys_read', ...near, ...many]), near.slice(0, 3));
  t.same(suggest(name, [...many, 'tcp_v6_conxxct_xxtablished_socket', 'tcp_v4_c']), [], 'five letters');
  t.same(suggest(name, ['tcp_v6_conxxct_xxtablished_socket']), ['tcp_v6_conxxct_xxtablished_socket'], 'a third of it in a short list');
  t.same(suggest('İstanbul_fn', [...many, 'İstanbul_fn2']), ['İstanbul_fn2'], 'letters that are longer in lower case');
  t.same(suggest('q', [...many, 'aqq', 'Q']).slice(0, 2), ['Q', 'aqq'], 'a name of fewer letters than pieces');
  t.end();
});
