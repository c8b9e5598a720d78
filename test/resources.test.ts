import t from 'tap';
import * as rawbpf from '../src/index.ts';

/** Whether a class, or one that it extends, has a method. */
const has = (type: unknown, name: PropertyKey): boolean => name in (type as { readonly prototype: object }).prototype;

t.test('every exported class with close() can be disposed', async (t) => {
  const classes = Object.entries(rawbpf).filter(([, value]) => typeof value === 'function' && /^class\b/.test(String(value)));
  const closable = classes.filter(([, value]) => has(value, 'close'));
  t.ok(closable.length > 20, `${closable.length} of ${classes.length} classes`);
  const wrong = closable.filter(([, value]) => !has(value, Symbol.dispose));
  t.same(
    wrong.map(([name]) => name),
    [],
  );
});
