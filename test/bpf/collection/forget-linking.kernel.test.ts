import { readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import { Kernel, loadCollection, type Collection } from '../../../src/bpf/index.ts';
import { openObject } from '../../../src/bpf/object/index.ts';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;
const gadgets = ['trace_open/program.bpf.o', 'trace_exec/program.bpf.o'];

function loaded(file: string): { collection: Collection; btf: WeakRef<object> } {
  const kernel = new Kernel();
  const collection = loadCollection(kernel, openObject(readFileSync(new URL(`../../../../gadgets/${file}`, import.meta.url))));
  const btf = new WeakRef<object>(kernel.vmlinuxBtf() as object);
  t.ok([...collection.programs.values()].some(({ linked }) => (linked?.coreRelocations.length ?? 0) > 0));
  collection.forgetLinking();
  kernel.dropCaches();
  return { collection, btf };
}

for (const file of gadgets) {
  t.test(`${file}: the kernel's BTF goes once the object is loaded, and its programs still attach`, async (t) => {
    const { collection, btf } = loaded(file);
    // A weak reference holds until the turn is over.
    for (let turn = 0; turn < 5 && btf.deref() !== undefined; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
      collectGarbage();
    }
    t.equal(btf.deref() === undefined, true);
    t.ok(collection.attach({ skipUnsupported: true }).length > 0);
    collection.close();
  });
}
