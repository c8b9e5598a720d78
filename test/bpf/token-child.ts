// In a user namespace of its own: opens a BPF file system, waits until it was set up from outside, mounts it, and uses its token.
import { readFileSync } from 'node:fs';
import { loadCollection } from '../../src/bpf/collection/load.ts';
import { Kernel } from '../../src/bpf/kernel/kernel.ts';
import { openObject } from '../../src/bpf/object/open.ts';
import { createToken } from '../../src/bpf/token.ts';
import { FS } from '../../src/sys/constants.ts';
import { defaultSys } from '../../src/sys/default-sys.ts';
import { fixture } from '../fixture.ts';

const sys = defaultSys();
const spec = openObject(fixture('attach/net.bpf.o'), { name: 'net' });
const attempt = (kernel: Kernel): string => {
  try {
    const collection = loadCollection(kernel, spec, { programs: ['on_socket'] });
    const { length } = [...collection.programs];
    collection.close();
    return `${length} loaded`;
  } catch (error) {
    return String((error as { errnoName?: string }).errnoName ?? error);
  }
};
const context = sys.call('fsopen', Buffer.from('bpf\0'), FS.FSOPEN_CLOEXEC);
process.stdout.write(`${context}\n`);
readFileSync(0);
const mount = sys.call('fsmount', context, FS.FSMOUNT_CLOEXEC, 0);
const result: Record<string, unknown> = { context, mount, without: attempt(new Kernel({ sys })) };
const path = `/proc/self/fd/${mount}`;
try {
  const token = createToken(sys, path);
  result['with'] = attempt(new Kernel({ sys: token.sys }));
  token.close();
} catch (error) {
  result['error'] = String(error);
}
process.stdout.write(`${JSON.stringify(result)}\n`);
