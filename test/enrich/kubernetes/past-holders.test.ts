import t from 'tap';
import type { NamedObject } from '../../../src/enrich/kubernetes/objects.ts';
import { PastHolders } from '../../../src/enrich/kubernetes/past-holders.ts';

const named = (name: string): NamedObject => ({
  kind: 'pod',
  uid: name,
  namespace: '',
  name,
  labels: '',
  selector: '',
  ips: [],
  rank: 0,
});

t.test('an address is of whom it was at a time, else of the next one', (t) => {
  const past = new PastHolders();
  past.add('a', named('one'), 1000);
  past.add('a', named('two'), 2000);
  const rows: readonly (readonly [time: number, name: string | undefined])[] = [
    [500, 'one'],
    [999, 'one'],
    [1000, 'two'],
    [1999, 'two'],
    [2000, undefined],
  ];
  for (const [time, name] of rows) t.equal(past.at('a', time)?.name, name, `at ${time}`);
  t.equal(past.at('b', 0), null);
  t.end();
});

t.test('what is older than any held event is forgotten', (t) => {
  const past = new PastHolders();
  for (let i = 0; i < 1000; i++) past.add(`10.0.0.${i}`, named('x'), i * 100);
  t.equal(past.size, 101, 'ten seconds of it');
  for (let i = 0; i < 1000; i++) past.add('a', named('y'), 100_000 + i * 100);
  t.equal(past.at('a', 0)?.uid, 'y');
  past.add('b', named('z'), 1e6);
  t.equal(past.size, 1);
  t.end();
});
