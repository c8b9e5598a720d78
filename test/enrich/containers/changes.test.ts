import t from 'tap';
import { Changes } from '../../../src/enrich/containers/changes.ts';
import type { Container, ContainerChange } from '../../../src/enrich/containers/container.ts';

const change = (type: ContainerChange['type'], serial: number): ContainerChange => ({ type, container: { serial } as Container });

void t.test('a stream keeps the process alive from its first next() until it is left', async (t) => {
  const told: boolean[] = [];
  const changes = new Changes((any) => told.push(any));
  const unused = changes.stream()[Symbol.asyncIterator]();
  t.same(told, [], 'not before anybody waits');
  await unused.return?.();
  t.same(told, [], 'and not where it is left before');
  t.match(await unused.next(), { done: true });

  const used = changes.stream()[Symbol.asyncIterator]();
  const first = used.next();
  t.same(told, [true]);
  changes.tell(change('added', 1));
  t.match(await first, { done: false, value: { type: 'added' } });
  await used.return?.();
  t.same(told, [true, false]);
  changes.tell(change('removed', 1));
  t.match(await used.next(), { done: true });
  changes.close();
});

void t.test('what a container went through while nobody looked is one change', async (t) => {
  const changes = new Changes(() => {});
  const stream = changes.stream()[Symbol.asyncIterator]();
  for (const one of [change('added', 1), change('named', 1), change('added', 2), change('removed', 2), change('removed', 3)])
    changes.tell(one);
  t.match(await stream.next(), { value: { type: 'added', container: { serial: 1 } } });
  t.match(await stream.next(), { value: { type: 'removed', container: { serial: 3 } } });
  changes.close();
  t.match(await stream.next(), { done: true });
});
