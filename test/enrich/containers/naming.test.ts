import t from 'tap';
import { Naming, type Nameless } from '../../../src/enrich/containers/naming.ts';
import type { NameQuery, NameSource, RuntimeNames } from '../../../src/enrich/containers/names.ts';
import { patiently } from '../../../src/enrich/runtimes/patience.ts';
import { emptyNames } from '../../../src/enrich/runtimes/source.ts';

const query: NameQuery = { id: 'c1', pid: 0, cgroupPath: '', runtimeHint: '' };
const named = (parts: Partial<RuntimeNames>): RuntimeNames => ({ ...emptyNames, containerId: 'c1', ...parts });

/** Gives these answers, one after the other, the last again and again. */
function sourceOf(answers: readonly (RuntimeNames | null)[], present = true): NameSource & { asked: number } {
  return {
    name: 'test',
    present,
    asked: 0,
    lookup() {
      const answer = answers[Math.min(this.asked, answers.length - 1)] ?? null;
      this.asked++;
      return Promise.resolve(answer);
    },
    list: () => Promise.resolve([]),
    close() {},
  };
}

/** What came of asking; null for nothing. */
function ask(naming: Naming): Promise<RuntimeNames | null> {
  return new Promise((resolve) => {
    const one: Nameless = { query, wanted: true, named: resolve, unnamed: () => resolve(null) };
    naming.ask(one);
  });
}

void t.test('a runtime that learns of the container after the kernel is asked again', async (t) => {
  const source = sourceOf([null, null, named({ containerName: 'web' })]);
  const naming = new Naming(source);
  const alive = setInterval(() => {}, 1000);
  t.equal((await ask(naming))?.containerName, 'web');
  t.equal(source.asked, 3);
  clearInterval(alive);
  naming.close();
});

void t.test('what was said unasked counts while a busy runtime says only the half', async (t) => {
  const naming = new Naming(sourceOf([named({ containerPid: 5 })]));
  naming.remember('c1', named({ containerName: 'web', containerImageName: 'nginx' }));
  // The runtime below tells of the process alone: that takes nothing away.
  naming.remember('c1', named({ containerPid: 5 }));
  t.match(await ask(naming), { containerName: 'web', containerImageName: 'nginx', containerPid: 5 });
  naming.close();
});

void t.test('a runtime that is too slow is not waited for longer than that', async (t) => {
  let answer: (names: RuntimeNames | null) => void = () => {};
  const slow = { ...sourceOf([]), lookup: () => new Promise<RuntimeNames | null>((resolve) => (answer = resolve)) };
  const alive = setInterval(() => {}, 1000);
  const naming = new Naming(slow, 40);
  t.equal(await ask(naming), null, 'nothing is known');
  naming.remember('c1', named({ containerName: 'web' }));
  t.equal((await ask(naming))?.containerName, 'web', 'what it said unasked has to do');
  // An answer that comes late finds nobody who wants it.
  let told = 0;
  const one = { query, wanted: true, named: () => void told++, unnamed: () => void told++ };
  naming.ask(one);
  while (told === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  one.wanted = false;
  answer(named({ containerName: 'late' }));
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(told, 1);
  clearInterval(alive);
  naming.close();
});

void t.test('a question for which nothing waits', async (t) => {
  const naming = new Naming(sourceOf([named({ containerPid: 5 }), named({ containerName: 'web' })]));
  t.equal(await naming.askOnce(query), null, 'a process without a name is nothing new');
  t.equal((await naming.askOnce(query))?.containerName, 'web');
  naming.close();
  t.equal(await naming.askOnce(query), null);
});

void t.test('where nothing ever was there, nothing is waited for', async (t) => {
  const source = sourceOf([null], false);
  const naming = new Naming(source);
  t.notOk(naming.hopeful);
  t.equal(await ask(naming), null);
  t.equal(source.asked, 0);
  naming.close();
});

void t.test('a process that was stopped looks at answers before it gives up', async (t) => {
  let gaveUp = false;
  let answered = false;
  const callOff = patiently(200, () => (gaveUp = true));
  setTimeout(() => setImmediate(() => (answered = !gaveUp)), 250);
  // Longer than it waits, as a stop is.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600);
  await new Promise((resolve) => setTimeout(resolve, 30));
  t.ok(answered, 'the answer came first');
  callOff();
  const late = await new Promise<boolean>((resolve) => {
    const alive = setTimeout(() => resolve(false), 10_000);
    patiently(40, () => {
      clearTimeout(alive);
      resolve(true);
    });
  });
  t.ok(late, 'and without one it gives up');
});
