// Stands in for tap in guests, mounted over its folder there: loading tap takes an emulated machine longer than most tests, and
// tap looks up the place of every assertion, passed or not. The same interface as far as the kernel tests use it, the same
// comparisons (tcompare, which is tap's), the same output as far as guest-tests.mjs reads it.
import { inspect, isDeepStrictEqual } from 'node:util';
import { match, same } from 'tcompare';

const write = (text) => process.stdout.write(text);
const describe = (value) => (value instanceof Error ? `${value.name}: ${value.message}` : inspect(value, { depth: 2 }).slice(0, 2000));

class Test {
  #name;
  #depth;
  #children = 0;
  #assertions = 0;
  #failures = 0;
  #teardowns = [];
  #queue = Promise.resolve();
  #ended = null;
  #skipped = null;

  constructor(name, depth) {
    this.#name = name;
    this.#depth = depth;
    this.ended = new Promise((resolve) => (this.#ended = resolve));
  }

  get name() {
    return this.#name;
  }

  get passing() {
    return this.#failures === 0;
  }

  #line(text) {
    write(`${'    '.repeat(this.#depth)}${text}\n`);
  }

  #result(good, message, extra, error) {
    this.#assertions++;
    if (good) return true;
    this.#failures++;
    this.#line(`not ok ${this.#assertions} - ${message.replaceAll('\n', ' ')}`);
    const place = (error ?? new Error('here')).stack
      ?.split('\n')
      .filter((each) => /\.test\.js|\/test\//.test(each))
      .join('\n');
    for (const each of `${extra}\n${place ?? ''}`.split('\n').slice(0, 60)) this.#line(`  ${each}`);
    return false;
  }

  ok(value, message = 'is true') {
    return this.#result(Boolean(value), message, `found: ${describe(value)}`);
  }

  notOk(value, message = 'is false') {
    return this.#result(!value, message, `found: ${describe(value)}`);
  }

  equal(found, wanted, message = 'is equal') {
    if (Object.is(found, wanted) || found === wanted) return this.#result(true);
    return this.#result(false, message, `found: ${describe(found)}\nwanted: ${describe(wanted)}`);
  }

  not(found, unwanted, message = 'is another') {
    return this.#result(found !== unwanted, message, `found: ${describe(found)}`);
  }

  same(found, wanted, message = 'is the same') {
    if (isDeepStrictEqual(found, wanted)) return this.#result(true);
    const compared = same(found, wanted);
    return this.#result(compared.match, message, compared.diff);
  }

  match(found, pattern, message = 'matches') {
    const compared = match(found, pattern);
    return this.#result(compared.match, message, compared.diff);
  }

  notMatch(found, pattern, message = 'does not match') {
    const compared = match(found, pattern);
    return this.#result(!compared.match, message, `found: ${describe(found)}`);
  }

  type(found, type, message = `is of type ${typeof type === 'string' ? type : type.name}`) {
    const good = typeof type === 'string' ? typeof found === type : found instanceof type;
    return this.#result(good, message, `found: ${describe(found)}`);
  }

  #thrown(error, wanted, message) {
    if (wanted === undefined || typeof wanted === 'string') return this.#result(true);
    const pattern = wanted instanceof Error ? { name: wanted.name, message: wanted.message } : wanted;
    const compared = typeof pattern === 'function' ? { match: error instanceof pattern, diff: describe(error) } : match(error, pattern);
    return this.#result(compared.match, message, `${compared.diff}\n${describe(error)}`, error);
  }

  throws(run, wanted, message = typeof wanted === 'string' ? wanted : 'throws as wanted') {
    try {
      run();
    } catch (error) {
      this.#thrown(error, wanted, message);
      return error;
    }
    return this.#result(false, message, 'nothing was thrown');
  }

  doesNotThrow(run, message = 'does not throw') {
    try {
      run();
    } catch (error) {
      return this.#result(false, message, describe(error), error);
    }
    return this.#result(true);
  }

  async rejects(promise, wanted, message = 'is rejected as wanted') {
    try {
      await (typeof promise === 'function' ? promise() : promise);
    } catch (error) {
      this.#thrown(error, wanted, message);
      return error;
    }
    return this.#result(false, message, 'it was resolved');
  }

  async resolves(promise, message = 'is resolved') {
    try {
      await (typeof promise === 'function' ? promise() : promise);
    } catch (error) {
      return this.#result(false, message, describe(error), error);
    }
    return this.#result(true);
  }

  pass() {
    return this.#result(true);
  }

  fail(message = 'failed') {
    return this.#result(false, message, '');
  }

  comment(...words) {
    for (const each of words.map(String).join(' ').split('\n')) this.#line(`# ${each}`);
  }

  skip(message = '') {
    this.#skipped = message;
  }

  plan() {}

  /** Time limits are the guest's: an emulated machine keeps none of a real one's. */
  setTimeout() {}

  teardown(run) {
    this.#teardowns.unshift(run);
  }

  end() {
    this.#ended();
  }

  bailout(reason) {
    this.#line(`Bail out! ${reason}`);
    process.exit(1);
  }

  /** Runs a test after those before it. */
  test(name, ...more) {
    const run = more.at(-1);
    const options = more.length > 1 ? more[0] : {};
    const done = this.#queue.then(async () => {
      const number = ++this.#children;
      const skip = options.skip ?? false;
      if (skip !== false && skip !== undefined && skip !== '') {
        this.#line(`ok ${number} - ${name} # SKIP ${skip === true ? '' : skip}`);
        return;
      }
      const child = new Test(name, this.#depth + 1);
      const good = await child.run(run);
      if (!good) this.#failures++;
      const why = child.#skipped === null ? '' : ` # SKIP ${String(child.#skipped)}`;
      this.#line(`${good ? 'ok' : 'not ok'} ${number} - ${name}${why}`);
      if (this.#depth === 0) process.exitCode = this.#failures === 0 ? 0 : 1;
    });
    this.#queue = done;
    return done;
  }

  async run(body) {
    running.add(this);
    try {
      const result = body(this);
      // A test that gives no promise ends when it says so.
      if (typeof result?.then === 'function') await result;
      else if (body.length > 0) await this.ended;
    } catch (error) {
      this.#result(false, `threw: ${describe(error)}`, error?.stack ?? '', error instanceof Error ? error : undefined);
    }
    await this.#queue;
    return await this.finish();
  }

  async finish() {
    for (const each of this.#teardowns) {
      try {
        await each();
      } catch (error) {
        this.#result(false, `teardown: ${describe(error)}`, error?.stack ?? '');
      }
    }
    this.#teardowns = [];
    running.delete(this);
    return this.passing;
  }
}

/** Tests that have begun and not ended. */
const running = new Set();
const root = new Test('', 0);
let finished = false;
process.on('beforeExit', () => {
  if (finished) return;
  finished = true;
  // The process has nothing to do any more: what is still waited for will not come.
  for (const test of running) {
    write(`not ok 0 - ${test.name}: never ended\n`);
    root.fail('a test never ended');
  }
  void root.finish().then((good) => (process.exitCode = good ? 0 : 1));
});
// The tests import tap's default.
// oxlint-disable-next-line import/no-default-export
export default root;
export const t = root;
