import t from 'tap';
import { loadCollection } from '../../src/bpf/collection/load.ts';
import { Kernel } from '../../src/bpf/kernel/kernel.ts';
import { versionCode } from '../../src/sys/kernel-version.ts';
import { openRuntime } from './runtime.ts';

const kernel = new Kernel();
const LIVE_FRAMES = 2;

// Room for the packet or more than one batch was refused with EINVAL: frames that leave do not come back (net/bpf/test_run.c).
t.test('XDP runs on live frames, some at once', { skip: kernel.version < versionCode(5, 18) }, async (t) => {
  const collection = loadCollection(kernel, openRuntime(kernel));
  t.teardown(() => collection.close());
  const { data } = collection.program('on_xdp').testRun({ data: new Uint8Array(64), repeat: 10, flags: LIVE_FRAMES, batchSize: 4 });
  t.equal(data.length, 0);
  // Whole batches are made, the last one too.
  t.ok(Number(collection.variable('seen').get()) >= 10, 'it saw every frame');
  t.throws(() => collection.program('on_xdp').testRun({ data: new Uint8Array(64), batchSize: 4 }), { message: /EINVAL/ });
});
