import { readFileSync } from 'node:fs';
import t from 'tap';
import { loadCollection } from '../../src/bpf/collection/load.ts';
import { Kernel } from '../../src/bpf/kernel/kernel.ts';
import { openObject } from '../../src/bpf/object/index.ts';
import { testRun } from '../../src/bpf/program/test-run.ts';

const objectUrl = new URL('../../../src/enrich/containers/programs/tracker.bpf.o', import.meta.url);

// It was refused with EINVAL: these programs take a context, and give none back (net/bpf/test_run.c).
void t.test('a raw tracepoint program runs with a context', (t) => {
  const kernel = new Kernel();
  const collection = loadCollection(kernel, openObject(readFileSync(objectUrl)));
  const { returnValue, context } = testRun(collection.program('find_host'), { context: new Uint8Array(8) });
  t.equal(returnValue, 1, 'it found the first process');
  t.equal(context.length, 0);
  t.ok(Number(collection.variable('host_mntns').get()) > 0);
  collection.close();
  kernel.close();
  t.end();
});
