// Which optional fields an entry has, as a loaded gadget is told by CO-RE, and what is in them.
import t, { type Test } from 'tap';
import { Kernel } from '../../../src/bpf/index.ts';
import { hostContext } from '../../../src/enrich/context.ts';
import { NetworkPart } from '../../../src/enrich/network/part.ts';
import { SocketPart, type SocketFields } from '../../../src/enrich/sockets/index.ts';
import { openGadget } from '../../../src/gadget/gadget.ts';
import { noMetadata } from '../../../src/gadget/metadata.ts';
import { GadgetRun } from '../../../src/gadget/run.ts';
import type { EventObject } from '../../../src/gadget/tree.ts';
import { defaultSys } from '../../../src/sys/default-sys.ts';
import { compileBpf, hasCompiler } from '../../support/compile.ts';
import { Netns, until } from '../../support/netns.ts';
import { slowness } from '../../support/patience.ts';

t.setTimeout(110_000 * slowness);
const skip = !hasCompiler('clang-19') && 'clang-19 is not here';

/** Says of each UDP packet to port 4321 what it finds of the optional fields. */
const source = `
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <gadget/buffer.h>
#include <gadget/macros.h>
#include <gadget/types.h>
#define GADGET_TYPE_NETWORKING
#include <gadget/sockets-map.h>
struct event { gadget_timestamp timestamp_raw; gadget_netns_id netns_id; __u32 pid; __u32 has_cwd; __u32 has_exepath; __u32 cwd_size; __u32 exepath_size; char cwd[64]; char exepath[64]; };
GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(fields, events, event);
SEC("socket1")
int look(struct __sk_buff *skb)
{
	struct gadget_socket_value *value;
	struct event event = {};
	__u16 port;

	if (skb->pkt_type != 4 || bpf_skb_load_bytes(skb, 14 + 20 + 2, &port, 2) || port != bpf_htons(4321))
		return 0;
	value = gadget_socket_lookup(skb);
	event.timestamp_raw = bpf_ktime_get_boot_ns();
	event.netns_id = skb->cb[0];
	event.has_cwd = value && bpf_core_field_exists(value->cwd);
	event.has_exepath = value && bpf_core_field_exists(value->exepath);
	if (value) {
		event.pid = value->pid_tgid >> 32;
		if (bpf_core_field_exists(value->cwd)) {
			event.cwd_size = bpf_core_field_size(value->cwd);
			bpf_probe_read_kernel_str(event.cwd, sizeof(event.cwd), value->cwd);
		}
		if (bpf_core_field_exists(value->exepath)) {
			event.exepath_size = bpf_core_field_size(value->exepath);
			bpf_probe_read_kernel_str(event.exepath, sizeof(event.exepath), value->exepath);
		}
	}
	gadget_output_buf(skb, &events, &event, sizeof(event));
	return 0;
}
char LICENSE[] SEC("license") = "GPL";
`;

/** What the gadget says of one packet where these fields are kept. */
async function fieldsSeen(t: Test, object: Uint8Array, fields: SocketFields | null): Promise<EventObject | undefined> {
  const space = await Netns.make();
  const kernel = new Kernel();
  const gadget = openGadget({ object, context: hostContext(defaultSys()), metadata: noMetadata });
  const network = new NetworkPart({ wants: (netns) => netns === space.inode, notice: (message) => t.comment(message) });
  const run = new GadgetRun(gadget, { kernel, parts: [new SocketPart(fields === null ? {} : { fields }), network] });
  const events: EventObject[] = [];
  try {
    run.start({ event: (source, record) => void events.push(source.decode(record)) });
    await until('it is attached', () => network.namespaces.includes(space.inode));
    const { pid } = await space.perl(
      'chdir "/usr/share"; socket(my $s, AF_INET, SOCK_DGRAM, 0); send($s, "x", 0, pack_sockaddr_in(4321, INADDR_LOOPBACK)) or die $!',
    );
    await until('the packet is seen', () => events.length > 0);
    t.equal(events[0]?.['pid'], pid, 'whose it is');
    return events[0];
  } finally {
    run.stop();
    await run.done;
    kernel.close();
    await space.close();
  }
}

void t.test('a loaded gadget is told which optional fields there are, how long they are, and what is in them', { skip }, async (t) => {
  const { object, stderr } = compileBpf(source);
  if (object === null) throw new Error(stderr);
  const both = { has_cwd: 1, has_exepath: 1, cwd: '/usr/share', exepath: '/usr/bin/perl' };
  t.match(await fieldsSeen(t, object, null), { ...both, cwd_size: 512, exepath_size: 512 }, 'as the gadget asks');
  t.match(
    await fieldsSeen(t, object, { cwd: 0, exepath: 128 }),
    { has_cwd: 0, cwd_size: 0, cwd: '', has_exepath: 1, exepath_size: 128, exepath: '/usr/bin/perl' },
    'no directory',
  );
  t.match(
    await fieldsSeen(t, object, { cwd: 256, exepath: 0 }),
    { has_cwd: 1, cwd_size: 256, cwd: '/usr/share', has_exepath: 0, exepath_size: 0, exepath: '' },
    'no program',
  );
});
