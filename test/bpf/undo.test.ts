import t from 'tap';
import { attemptAll, undoOnError } from '../../src/bpf/undo.ts';

void t.test('one that fails keeps no other from being closed, and the first error is thrown', (t) => {
  const done: string[] = [];
  const failing = (name: string) => (): void => {
    done.push(name);
    throw new Error(name);
  };
  t.throws(
    () =>
      attemptAll((attempt) => {
        attempt(failing('a'));
        attempt(() => done.push('b'));
        attempt(failing('c'));
      }),
    { message: 'a' },
  );
  t.same(done, ['a', 'b', 'c']);
  t.end();
});

void t.test('what was done is undone in reverse order where the work fails', (t) => {
  const closed: number[] = [];
  const resource = (id: number): { close(): void } => ({ close: () => void closed.push(id) });
  t.throws(
    () =>
      undoOnError((undo) => {
        undo.own(resource(1));
        undo.own(resource(2));
        throw new Error('half-way');
      }),
    { message: 'half-way' },
  );
  t.same(closed, [2, 1]);
  undoOnError((undo) => undo.own(resource(3)));
  t.same(closed, [2, 1], 'and kept where it does not');
  t.end();
});
