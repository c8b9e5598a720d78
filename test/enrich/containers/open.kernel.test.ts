// A collection that cannot be opened leaves nothing open: no descriptor, and not the source of names that it was given.
import { readdirSync } from 'node:fs';
import t from 'tap';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { ContainerCollection } from '../../../src/enrich/containers/collection.ts';
import type { NameSource } from '../../../src/enrich/containers/names.ts';
import { createBackend, hostArch } from '../../../src/sys/default-sys.ts';
import { failNamed, type Fault, FaultInjector } from '../../../src/sys/fault-injector.ts';
import { Sys } from '../../../src/sys/sys.ts';

const openFds = (): number => readdirSync('/proc/self/fd').length;

/** Counts how often it is closed. */
function makeNames(onEvent: () => void): NameSource & { closed: number } {
  return {
    name: 'test',
    present: false,
    closed: 0,
    lookup: async () => null,
    list: async () => [],
    onEvent,
    close() {
      this.closed++;
    },
  };
}

const faults: readonly (readonly [string, Fault[], () => void])[] = [
  ['no map', [failNamed('BPF_MAP_CREATE', 'EPERM')], () => {}],
  ['the second program', [failNamed('BPF_PROG_LOAD', 'ENOMEM', { skip: 3 })], () => {}],
  ['no attachment', [failNamed('BPF_LINK_CREATE', 'EPERM'), failNamed('BPF_RAW_TRACEPOINT_OPEN', 'EPERM')], () => {}],
  ['no memory for the ring', [failNamed('mmap', 'ENOMEM')], () => {}],
  [
    'a source of names that throws',
    [],
    () => {
      throw new Error('not today');
    },
  ],
];

void t.test('what was opened until then is closed', (t) => {
  // What is opened once and stays: probes' results, the event loop.
  ContainerCollection.open().close();
  for (const [name, given, onEvent] of faults) {
    const kernel = new Kernel({ sys: new Sys(new FaultInjector(createBackend(), hostArch(), given), hostArch()) });
    const names = makeNames(onEvent);
    const before = openFds();
    t.throws(() => ContainerCollection.open({ kernel, names }), name);
    t.ok(names.closed > 0, `${name}: names are closed`);
    kernel.close();
    t.equal(openFds(), before, `${name}: no descriptor is left`);
  }
  t.end();
});
