// Started by classifiers.kernel.test.ts in a network namespace that plays the host: looks at packets of the host's ends of veths, and tells what it sees.
import { readFileSync } from 'node:fs';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { RtNetlink } from '../../../src/bpf/link/rtnetlink.ts';
import { clsactDevices } from '../../../src/bpf/link/tc-filter.ts';
import { hostContext } from '../../../src/enrich/context.ts';
import { NetworkPart } from '../../../src/enrich/network/part.ts';
import { SocketPart } from '../../../src/enrich/sockets/index.ts';
import { openGadget } from '../../../src/gadget/gadget.ts';
import { parseMetadata } from '../../../src/gadget/metadata.ts';
import { GadgetRun } from '../../../src/gadget/run.ts';
import type { EventObject } from '../../../src/gadget/tree.ts';
import { createBackend, hostArch } from '../../../src/sys/default-sys.ts';
import { FaultInjector } from '../../../src/sys/fault-injector.ts';
import { Sys } from '../../../src/sys/sys.ts';

const [via = '', ...wanted] = process.argv.slice(2);
const own = new Set(wanted.map(Number));
/** BPF_TCX_INGRESS and BPF_TCX_EGRESS of linux/bpf.h: a kernel before 6.6 does not know them. */
const isTcx = (type: unknown): boolean => type === 46 || type === 47;
const injector = new FaultInjector(createBackend(), hostArch(), [
  { when: ({ command, attr }) => via === 'clsact' && command === 'BPF_LINK_CREATE' && isTcx(attr['attach_type']), errno: 'EINVAL' },
]);
const sys = new Sys(injector, hostArch());
const kernel = new Kernel({ sys });
const folder = new URL('../../../../gadgets/tcpdump/', import.meta.url);
const gadget = openGadget({
  object: readFileSync(new URL('program.bpf.o', folder)),
  name: 'tcpdump',
  metadata: parseMetadata(readFileSync(new URL('gadget.yaml', folder), 'utf8'), 'gadget.yaml'),
  context: hostContext(sys),
});
const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
const notice = (message: string): void => say({ notice: message });
const devices = (): number[] => {
  const netlink = new RtNetlink(sys);
  try {
    return clsactDevices(netlink);
  } finally {
    netlink.close();
  }
};
const run = new GadgetRun(gadget, {
  kernel,
  parts: [new SocketPart({ notice }), new NetworkPart({ wants: (netns) => own.has(netns), notice })],
  notice,
});
run.start({
  event(source, record) {
    const row = source.decode(record);
    const payload = Buffer.from(row['payload'] as Uint8Array).toString('latin1');
    const proc = row['proc'] as EventObject;
    const mark = /mark \d+ \w+/.exec(payload)?.[0];
    if (mark !== undefined)
      say({ mark, ingress: row['packet_type'], ifindex: row['ifindex'], proc: { pid: proc['pid'], comm: proc['comm'] } });
  },
});
say({ attached: true });
process.stdin.once('data', () => {
  const during = devices();
  run.stop();
  void run.done.then(() => {
    say({ during, after: devices(), injected: injector.injected });
    kernel.close();
    process.exit(0);
  });
});
