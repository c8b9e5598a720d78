// The documentation of the helper API says what its snippets do: here they do it, on both kinds of buffers, and what comes out
// is compared with what Node and /proc know. docs/helper-api-coverage.md lists what of that document is covered, and where.
import { spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { createMap, Kernel } from '../../src/bpf/index.ts';
import { runGadget, type GadgetEvents, type RunGadgetOptions } from '../../src/enrich/run-gadget.ts';
import type { EventObject } from '../../src/gadget/tree.ts';
import { BpfCompiler, hasCompiler, root } from '../support/compile.ts';
import { slowness } from '../support/patience.ts';
import { namespaceOf } from '../support/process.ts';

t.setTimeout(110_000 * slowness);

/** The blocks of code of the document, as they are there, by the section they are in. */
const blocks = {
  mntnsInclude: '#include <gadget/mntns.h>',
  mntnsEvent: `struct event {
        gadget_mntns_id mntns_id;
        /* other fields */
}`,
  mntnsLookup: `u64 mntns_id;
mntns_id = gadget_get_mntns_id();`,
  filterInclude: '#include <gadget/mntns_filter.h>',
  filter: `if (gadget_should_discard_mntns_id(mntns_id))
        return 0;`,
  networkingInclude: `#define GADGET_TYPE_NETWORKING
#include <gadget/sockets-map.h>`,
  tracingInclude: `#define GADGET_TYPE_TRACING
#include <gadget/sockets-map.h>`,
  socketsValue: `#define TASK_COMM_LEN 16
struct sockets_value {
        __u64 mntns;
        __u64 pid_tgid;
        __u64 uid_gid;
        char task[TASK_COMM_LEN];
        /* other private fields */
};`,
  packetLookup: `struct sockets_value *skb_val = gadget_socket_lookup(skb);
if (skb_val != NULL) {
        /* Access skb_val->mntns and other fields */
}`,
  socketLookup: `struct sockets_value *skb_val = gadget_socket_lookup(sk, netns);
if (skb_val != NULL) {
        /* Access skb_val->mntns and other fields */
}`,
  enrichedTypes: `struct event {
        struct gadget_l3endpoint_t  field1;
        struct gadget_l4endpoint_t  field2;
        gadget_mntns_id             field3;
        gadget_timestamp            field4;
}`,
  tracerMap: 'GADGET_TRACER_MAP(events, 1024 * 256);',
  reserve: `	struct event *event;

	/* ... */

	event = gadget_reserve_buf(&events, sizeof(*event));
	if (!event)
		goto cleanup;

	/* fill the event here */

	/* ... */
	gadget_submit_buf(ctx, &events, event, sizeof(*event));`,
  noReserve: `#define GADGET_NO_BUF_RESERVE
#include <gadget/buffer.h>`,
  output: `	event = bpf_map_lookup_elem(&execs, &pid);
	if (!event)
		return 0;

	/* ... */

	if (len <= sizeof(*event))
		gadget_output_buf(ctx, &events, event, len);`,
} as const;

const license = 'char LICENSE[] SEC("license") = "GPL";\n';
const tracing = '#include <vmlinux.h>\n#include <bpf/bpf_helpers.h>\n#include <gadget/macros.h>\n';
const ownPid = 'const volatile __u32 own_pid = 0;\nGADGET_PARAM(own_pid);\n';

/** Puts code where a block of the document has a comment for it. */
const fill = (block: string, comment: string, code: string): string => {
  if (!block.includes(comment)) throw new Error(`no ${comment} in the block`);
  return block.replace(comment, code);
};

const opened = `${tracing}
#include <gadget/buffer.h>
${blocks.mntnsInclude}
${blocks.filterInclude}
${ownPid}
${fill(blocks.mntnsEvent, '/* other fields */', 'gadget_timestamp timestamp_raw; __s64 ret;')};

${blocks.tracerMap}

GADGET_TRACER(exit, events, event);

static __always_inline int trace_exit(struct syscall_trace_exit *ctx)
{
	${blocks.mntnsLookup}
	if (bpf_get_current_pid_tgid() >> 32 != own_pid)
		return 0;
	${blocks.filter}
	{
	${fill(
    blocks.reserve,
    '/* fill the event here */',
    `event->mntns_id = mntns_id;
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	event->ret = ctx->ret;`,
  )}
	}
cleanup:
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_openat")
int openat_x(struct syscall_trace_exit *ctx)
{
	return trace_exit(ctx);
}
${license}`;

const executed = `${tracing}
${blocks.noReserve}
${ownPid}
struct event {
	__u32 parent;
	__u32 length;
	char args[64];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, pid_t);
	__type(value, struct event);
} execs SEC(".maps");

${blocks.tracerMap}

GADGET_TRACER(exec, events, event);

SEC("tracepoint/syscalls/sys_enter_execve")
int ig_execve_e(struct syscall_trace_enter *ctx)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	pid_t pid = bpf_get_current_pid_tgid();
	struct event event = { .parent = BPF_CORE_READ(task, real_parent, tgid) };

	if (event.parent != own_pid)
		return 0;
	event.length = bpf_probe_read_user_str(event.args, sizeof(event.args), (void *)ctx->args[0]);
	bpf_map_update_elem(&execs, &pid, &event, 0);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_execve")
int ig_execve_x(struct syscall_trace_exit *ctx)
{
	struct event *event;
	pid_t pid = bpf_get_current_pid_tgid();
	__u64 len = 8;

	event = bpf_map_lookup_elem(&execs, &pid);
	if (event)
		len += event->length & 63;

${blocks.output}

	bpf_map_delete_elem(&execs, &pid);
	return 0;
}
${license}`;

/** What is known of a socket's owner, as an event. */
const owner = `
struct event {
	gadget_mntns_id mntns_id;
	__u64 pid_tgid;
	__u64 uid_gid;
	char task[TASK_COMM_LEN];
	__u16 port;
	bool is_known;
};

${blocks.tracerMap}
GADGET_TRACER(sockets, events, event);
`;
const access = `event.is_known = true;
		event.mntns_id = skb_val->mntns;
		event.pid_tgid = skb_val->pid_tgid;
		event.uid_gid = skb_val->uid_gid;
		__builtin_memcpy(event.task, skb_val->task, sizeof(event.task));`;
const comment = '/* Access skb_val->mntns and other fields */';

const packets = `
#include <linux/types.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>
#include <gadget/macros.h>
#include <gadget/buffer.h>
${blocks.networkingInclude}
const volatile __u16 port = 0;
GADGET_PARAM(port);
${owner}
SEC("socket1")
int on_packet(struct __sk_buff *skb)
{
	struct event event = {};
	__u16 ports[2];

	/* IPv4 without options over Ethernet, as loopback has it. */
	if (skb->protocol != bpf_htons(0x0800) || bpf_skb_load_bytes(skb, 14 + 20, ports, sizeof(ports)) ||
	    ports[1] != bpf_htons(port))
		return 0;
	event.port = bpf_ntohs(ports[1]);
	${fill(blocks.packetLookup, comment, access)}
	gadget_output_buf(skb, &events, &event, sizeof(event));
	return 0;
}
${license}`;

const sockets = `${tracing}
#include <bpf/bpf_tracing.h>
#include <gadget/buffer.h>
${blocks.tracingInclude}
const volatile __u16 port = 0;
GADGET_PARAM(port);
const volatile __u32 other_netns = 0;
GADGET_PARAM(other_netns);
${owner}
SEC("raw_tp/inet_sock_set_state")
int on_state(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (struct sock *)ctx->args[0];
	__u32 netns = other_netns ? other_netns : BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	struct event event = {};

	/* The one that waits for connections, when it is closed. */
	if (BPF_CORE_READ(sk, __sk_common.skc_num) != port || ctx->args[1] != TCP_LISTEN)
		return 0;
	event.port = port;
	${fill(blocks.socketLookup, comment, access)}
	gadget_output_buf(ctx, &events, &event, sizeof(event));
	return 0;
}
${license}`;

/** What the document declares, after what the header does: equal, or it does not compile. */
const declared = `
#include <vmlinux.h>
${blocks.tracingInclude}
_Static_assert(TASK_COMM_LEN == 16, "TASK_COMM_LEN");
typedef struct sockets_value ours;
#undef sockets_value
#undef TASK_COMM_LEN
${blocks.socketsValue.replace('struct sockets_value', 'struct documented')}
#define SAME(member) _Static_assert(__builtin_offsetof(ours, member) == __builtin_offsetof(struct documented, member) && \\
	sizeof(((ours *)0)->member) == sizeof(((struct documented *)0)->member), #member)
SAME(mntns);
SAME(pid_tgid);
SAME(uid_gid);
SAME(task);
`;

/** What the document says cannot be: the mount namespace of "the current task" in a program that sees packets. */
const impossible = `
#include <linux/types.h>
#include <linux/bpf.h>
${blocks.networkingInclude}
${blocks.mntnsInclude}
SEC("socket1")
int on_packet(struct __sk_buff *skb)
{
	return gadget_get_mntns_id();
}
${license}`;

const systemHeaders = ['-I/usr/include/x86_64-linux-gnu', '-I/usr/include/aarch64-linux-gnu'];

type Row = EventObject;

const open = (): void => closeSync(openSync('/dev/null', 'r'));

/** Runs a gadget while work makes things happen. */
async function collect(options: RunGadgetOptions, work: () => unknown): Promise<{ rows: Row[]; run: GadgetEvents['run'] }> {
  const events = runGadget(options);
  const rows: Row[] = [];
  const all = (async (): Promise<void> => {
    for await (const event of events) void rows.push(event);
  })();
  try {
    await work();
  } finally {
    events.stop();
  }
  await all;
  return { rows, run: events.run };
}

for (const clang of ['clang-14', 'clang-19']) {
  const skip = hasCompiler(clang) ? false : `${clang} is not installed`;
  const compiler = new BpfCompiler({ clang });
  const compiled = (source: string, flags: readonly string[] = []): Uint8Array => {
    const { object, stderr } = compiler.compile(source, flags);
    if (object === null) throw new Error(stderr);
    return object;
  };

  // What an older compiler makes takes the same ways; sockets take seconds, and their source compiles with both elsewhere.
  const isNewest = clang === 'clang-19';
  const onNewest = (name: string, run: (t: Test) => Promise<void>): void => {
    if (isNewest) void t.test(`${name}: ${clang}`, { skip }, run);
  };
  for (const buffer of isNewest ? (['ringbuf', 'perf'] as const) : (['ringbuf'] as const)) {
    void t.test(`gadget_reserve_buf(), gadget_submit_buf(), enrichment and filter: ${clang}, ${buffer}`, { skip }, async (t) => {
      const object = compiled(opened);
      const from = Date.now();
      const { rows, run } = await collect({ object, buffer, params: { own_pid: process.pid } }, () => {
        for (let i = 0; i < 3; i++) open();
      });
      t.ok(rows.length >= 3, `${rows.length} events`);
      t.equal(run.counters.lost, 0);
      for (const row of rows) {
        t.equal(row['mntns_id'], BigInt(namespaceOf('mnt')), 'the mount namespace as /proc has it');
        const ms = Number((row['timestamp_raw'] as bigint) / 1_000_000n);
        t.ok(ms >= from - 20 && ms <= Date.now() + 20, 'gadget_timestamp: time since the epoch');
        t.equal(Math.floor(Date.parse(row['timestamp'] as string) / 1000), Math.floor(ms / 1000), 'and readable');
      }

      // With the filter on, and this mount namespace not among those wanted, and then among them.
      const kernel = new Kernel({ buffer });
      for (const wanted of [false, true]) {
        const map = createMap(kernel, { type: 'BPF_MAP_TYPE_HASH', keySize: 8, valueSize: 4, maxEntries: 1024 });
        const entry = { key: new Uint8Array(new BigUint64Array([BigInt(namespaceOf('mnt'))]).buffer), value: new Uint8Array(4) };
        if (wanted) map.update(entry.key, entry.value);
        const part = {
          prepare: () => ({ maps: { gadget_mntns_filter_map: map }, variables: { gadget_filter_by_mntns: true } }),
          close: () => map.close(),
        };
        const filtered = await collect({ object, kernel, params: { own_pid: process.pid }, parts: [part] }, open);
        t.equal(filtered.rows.length > 0, wanted, `gadget_should_discard_mntns_id(): ${wanted}`);
      }
      kernel.close();
    });

    void t.test(`gadget_output_buf() without the rest: ${clang}, ${buffer}`, { skip }, async (t) => {
      const object = compiled(executed);
      const { rows, run } = await collect({ object, buffer, params: { own_pid: process.pid } }, () => spawnSync('/bin/true'));
      t.same(
        rows,
        [{ parent: process.pid, length: '/bin/true'.length + 1, args: '/bin/true' }],
        'the shortened event, filled up with zeros',
      );
      t.equal(run.counters.lost, 0);
      t.notOk(
        run.gadget.spec.maps.some(({ name }) => name === 'gadget_heap'),
        'no map for gadget_reserve_buf()',
      );
    });
  }

  const self = {
    is_known: true,
    mntns_id: BigInt(namespaceOf('mnt')),
    uid_gid: (BigInt(process.getgid?.() ?? 0) << 32n) | BigInt(process.getuid?.() ?? 0),
  };
  const expectSelf = (t: Test, row: Row | undefined, port: number, what: string): void => {
    t.match(row, { ...self, port }, what);
    t.equal(Number((row?.['pid_tgid'] as bigint) >> 32n), process.pid, `${what}: pid`);
    t.equal(row?.['task'], readFileSync('/proc/self/comm', 'utf8').trimEnd(), `${what}: task`);
  };

  onNewest('gadget_socket_lookup(skb) in a socket filter', async (t) => {
    const object = compiled(packets, systemHeaders);
    const receiver = createSocket('udp4');
    receiver.bind(0, '127.0.0.1');
    await once(receiver, 'listening');
    const { port } = receiver.address();
    for (const buffer of ['ringbuf', 'perf'] as const) {
      const { rows } = await collect({ object, buffer, params: { port } }, async () => {
        receiver.send('hello', port, '127.0.0.1');
        await once(receiver, 'message');
      });
      // Loopback shows it twice: as it goes, and as it comes.
      t.equal(rows.length, 2, `${buffer}: both ways`);
      for (const row of rows) expectSelf(t, row, port, buffer);
    }
    receiver.close();
    // A packet of a port that nobody has: "It can return NULL".
    const sender = createSocket('udp4');
    sender.on('error', () => {});
    const { rows } = await collect({ object, params: { port } }, async () => {
      await new Promise((resolve) => sender.send('hello', port, '127.0.0.1', resolve));
    });
    t.ok(
      rows.some((row) => row['is_known'] === false),
      'NULL where nobody has the port',
    );
    sender.close();
  });

  onNewest('gadget_socket_lookup(sk, netns) in a tracer', async (t) => {
    const object = compiled(sockets);
    for (const other of [0, 1]) {
      const server = createServer();
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      const { port } = server.address() as AddressInfo;
      const { rows } = await collect({ object, params: { port, other_netns: other } }, async () => {
        const client = connect(port, '127.0.0.1');
        await once(client, 'connect');
        client.destroy();
        server.close();
        await once(server, 'close');
      });
      t.equal(rows.length, 1, 'the listening socket, once');
      if (other === 0) expectSelf(t, rows[0], port, 'the owner');
      else t.match(rows[0], { is_known: false, port }, 'NULL for a namespace that has no such socket');
    }
  });

  void t.test(`what is declared, and what is not possible: ${clang}`, { skip }, (t) => {
    const { object, stderr } = compiler.compile(declared);
    t.ok(object, stderr);
    t.notOk(compiler.compile(impossible, systemHeaders).object, 'gadget_get_mntns_id() in a socket filter is refused by the compiler');
    const withTypes = compiler.compile(`#include <vmlinux.h>\n#include <gadget/types.h>\n${blocks.enrichedTypes};\nstruct event last;`);
    t.ok(withTypes.object, withTypes.stderr);
    compiler.close();
    t.end();
  });
}

void t.test('each block is shown to be covered', (t) => {
  const page = readFileSync(`${root}docs/helper-api-coverage.md`, 'utf8');
  for (const name of Object.keys(blocks)) t.ok(page.includes(`\`${name}\``), name);
  t.end();
});
