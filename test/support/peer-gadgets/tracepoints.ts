// Gadgets that need no kprobes.
import { once } from 'node:events';
import { existsSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { networkPerl } from '../network.ts';
import { expectProcess, expectTime, namespaceOf, runPerl } from '../process.ts';
import type { JsonEvent } from '../run-gadget.ts';
import { endpoint, folder, loopbackPair, of, one, run, scratch, wait, who, type Case } from './case.ts';

let listening: { close(): void } | null = null;

/** Lets go of what snapshot_socket was shown. */
export function stopListening(): void {
  listening?.close();
  listening = null;
}

/** What went through a TLS connection. */
const text = (row: JsonEvent): string =>
  Buffer.from(row['buf'] as number[])
    .toString('latin1')
    .slice(0, Number(row['len']));

export const tracepointCases: readonly Case[] = [
  {
    gadget: 'trace_open',
    args: ['--paths'],
    work: () =>
      runPerl(
        `use Fcntl; sysopen(my $a, "$ARGV[0]/new", O_RDWR|O_CREAT|O_EXCL, 0640) or die; print "new ", fileno($a), "\\n";
         sysopen(my $b, "$ARGV[0]/missing", O_RDONLY) and die; print "missing ", $!+0, "\\n"`,
        scratch,
      ),
    check(t, rows, made) {
      const own = rows.filter(of(made));
      const row = one(t, own, 'new', (each) => each['fname'] === `${scratch}/new`);
      t.match(row, { error_raw: 0, error: '', fd: Number(made.said.get('new')?.[0]), mode_raw: 0o640, fpath: `${scratch}/new` });
      // Perl sets close-on-exec itself.
      t.equal(Number(row?.['flags_raw']) & ~0o2000000, 0o302, 'O_RDWR|O_CREAT|O_EXCL of asm-generic/fcntl.h');
      t.match(row?.['flags'], /^O_RDWR\|O_CREAT\|O_EXCL/);
      who(t, row, made, 'new');
      const missing = one(t, own, 'missing', (each) => each['fname'] === `${scratch}/missing`);
      t.match(missing, { error_raw: Number(made.said.get('missing')?.[0]), error: 'ENOENT' });
    },
  },
  {
    gadget: 'trace_signal',
    work: () =>
      runPerl(`my $child = fork // die; if (!$child) { sleep 100; exit } print "child $child\\n"; kill 10, $child; waitpid $child, 0;`),
    check(t, rows, made) {
      const own = rows.filter(of(made));
      const row = one(t, own, 'kill', (each) => each['tpid'] === Number(made.said.get('child')?.[0]));
      t.match(row, { sig_raw: 10, sig: 'SIGUSR1', error_raw: 0, error: '' });
      who(t, row, made, 'kill');
    },
  },
  {
    gadget: 'trace_mount',
    work: () =>
      runPerl(
        `syscall(272, 0x20000) == 0 or die; my ($none, $dir, $fs, $src, $data) = ("none", $ARGV[0], "tmpfs", "the-source", "size=64k");
         print "mntns ", readlink("/proc/self/ns/mnt") =~ /(\\d+)/, "\\n"; my $root = "/";
         syscall(165, $none, $root, 0, 0x44000, 0) == 0 or die; syscall(165, $src, $dir, $fs, 6, $data) == 0 or die $!;
         syscall(166, $dir, 2) == 0 or die; my $gone = "$dir/gone"; syscall(165, $src, $gone, $fs, 0, 0); print "error ", $!+0, "\\n"`,
        scratch,
      ),
    check(t, rows, made) {
      const own = rows.filter(of(made));
      const row = one(t, own, 'mount', (each) => each['fs'] === 'tmpfs' && each['dest'] === scratch);
      t.match(row, {
        src: 'the-source',
        data: 'size=64k',
        flags_raw: 6,
        flags: 'MS_NOSUID|MS_NODEV',
        error_raw: 0,
        op_raw: 0,
        op: 'MOUNT',
      });
      t.ok(Number(row?.['delta_raw']) > 0 && Number(row?.['delta_raw']) < (made.to - made.from + 1) * 1e6, 'how long it took');
      who(t, row, made, 'mount');
      const umount = one(t, own, 'umount', (each) => each['op'] === 'UMOUNT');
      t.match(umount, { dest: scratch, op_raw: 1, error_raw: 0, flags_raw: 2 });
      const failed = one(t, own, 'failed', (each) => each['dest'] === `${scratch}/gone`);
      t.match(failed, { error_raw: Number(made.said.get('error')?.[0]), error: 'ENOENT', flags_raw: 0, data: '' });
      // As the program's own enum has it, which takes 0x4000 for another flag than the kernel does.
      one(t, own, 'private', (each) => each['dest'] === '/' && each['flags_raw'] === 0x44000 && each['flags'] === 'MS_VERBOSE|MS_PRIVATE');
    },
  },
  {
    gadget: 'trace_malloc',
    args: ['--comm', 'rawbpf-peer', '--buffer-size', '64M'],
    work: async () => {
      const koffi = createRequire(import.meta.url).resolve('koffi');
      const script = `process.title = 'rawbpf-peer'; const libc = require(process.argv[1]).load(null); const n = 'uintptr_t', z = 'size_t';
        const malloc = libc.func('malloc', n, [z]), calloc = libc.func('calloc', n, [z, z]), free = libc.func('free', 'void', [n]);
        const a = malloc(100001); console.log('malloc', 100001, String(a)); const b = calloc(1001, 77); console.log('calloc', 77077, String(b));
        free(a); console.log('free', String(a));`;
      return await run(process.execPath, ['-e', script, koffi]);
    },
    check(t, rows, made) {
      const own = rows.filter((row) => row.proc.pid === made.pid);
      for (const operation of ['malloc', 'calloc'] as const) {
        const [size, addr] = (made.said.get(operation) ?? []).map(Number);
        const row = one(t, own, operation, (each) => each['operation'] === operation && each['addr'] === addr && each['size'] === size);
        t.equal(row?.['operation_raw'], operation === 'malloc' ? 0 : 2);
        expectProcess(t, row?.proc, { pid: made.pid, comm: 'rawbpf-peer' }, operation);
        expectTime(t, row, made, operation);
      }
      const addr = Number(made.said.get('free')?.[0]);
      t.ok(
        own.some((each) => each['operation'] === 'free' && each['addr'] === addr && each['operation_raw'] === 1),
        'free',
      );
    },
  },
  {
    gadget: 'trace_tcpdrop',
    // The program looks at packets that still have a socket: those on their way out.
    work: () =>
      runPerl(`${loopbackPair} # A queue that no packet fits into.
        system("tc qdisc add dev lo root tbf rate 8kbit burst 20 limit 20") == 0 or die;
        syswrite $client, "x"; select undef, undef, undef, 0.3; setsockopt($client, SOL_SOCKET, SO_LINGER, pack "ii", 1, 0)`),
    check(t, rows, made) {
      const row = rows.find((each) => each['netns_id'] === Number(made.said.get('netns')?.[0]) && each['tcpflags'] === 'PSH|ACK');
      t.match(row, {
        // The program leaves the protocol unset.
        src: { addr: '127.0.0.1', port: Number(made.said.get('client')?.[0]), version: 4 },
        dst: { addr: '127.0.0.1', port: Number(made.said.get('server')?.[0]), version: 4 },
        tcpflags_raw: 0x18,
        state: 'tcp_established',
        state_raw: 1,
        reason: 'SKB_DROP_REASON_QDISC_DROP',
      });
      t.match(row, { comm: 'perl', pid: made.pid, tid: made.pid, uid: 0, gid: 0, mount_ns_id: namespaceOf('mnt') }, 'whose socket it is');
      t.match(row?.['kernel_stack'], /dev_queue_xmit/);
      expectTime(t, row, made, 'drop');
    },
  },
  {
    gadget: 'trace_dns',
    args: ['--paths'],
    work: () =>
      runPerl(
        String.raw`${networkPerl} socket(my $server, AF_INET, SOCK_DGRAM, 0) or die; bind($server, at(AF_INET, "127.7.7.7", 53)) or die $!;
        socket(my $client, AF_INET, SOCK_DGRAM, 0) or die; bind($client, at(AF_INET, "127.0.0.1", 0)) or die; chdir $ARGV[0];
        # A socket is known from when it is bound or connected on.
        print "client ", port_of($client), "\n"; my $query = "\x12\x34\x01\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1";
        send($client, $query, 0, at(AF_INET, "127.7.7.7", 53)) or die; recv($server, my $heard, 512, 0); substr($heard, 2, 1) = "\x81";
        send($server, $heard, 0, at(AF_INET, "127.0.0.1", port_of $client)) or die; recv($client, my $answer, 512, 0);`,
        scratch,
      ),
    check(t, rows, made) {
      const port = Number(made.said.get('client')?.[0]);
      const client = endpoint('127.0.0.1', port, 'UDP');
      const server = endpoint('127.7.7.7', 53, 'UDP');
      const own = rows.filter((each) => [each['src'], each['dst']].some((end) => (end as { port: number }).port === port));
      for (const [what, src, dst] of [
        ['query', client, server],
        ['answer', server, client],
      ] as const) {
        for (const type of ['OUTGOING', 'HOST'] as const) {
          const row = one(
            t,
            own,
            `${what} ${type}`,
            (each) => each['pkt_type'] === type && (each['src'] as { port: number }).port === (src as { port: number }).port,
          );
          t.match(
            row,
            {
              src,
              dst,
              nameserver: { addr: '127.7.7.7', version: 4 },
              netns_id: namespaceOf('net'),
              pkt_type_raw: type === 'OUTGOING' ? 4 : 0,
            },
            what,
          );
          // Not the program's but this project's reading of what follows the fields.
          t.match(row, { id: '1234', name: 'example.com.', qtype: 'A', qr: what === 'query' ? 'Q' : 'R' }, what);
          who(t, row, made, `${what} ${type}`);
          t.match(row, { exepath: realpathSync('/usr/bin/perl') }, what);
          if (what === 'answer' && type === 'HOST') t.ok(Number(row?.['latency_ns_raw']) > 0, 'how long the answer took');
          else t.equal(row?.['latency_ns_raw'], 0, `${what} ${type}: no answer`);
        }
      }
    },
  },
  {
    gadget: 'trace_sni',
    work: () =>
      runPerl(String.raw`${networkPerl} my $server = listener(AF_INET, "127.0.0.1"); my $port = port_of $server; my $pid = fork // die;
        if (!$pid) { open STDOUT, ">", "/dev/null"; open STDERR, ">&", *STDOUT; open STDIN, "<", "/dev/null";
          exec "openssl", "s_client", "-connect", "127.0.0.1:$port", "-servername", "some.name.example" }
        accept(my $accepted, $server) or die; sysread $accepted, my $hello, 4096; close $accepted; waitpid $pid, 0; print "child $pid\n"`),
    check(t, rows, made) {
      const own = rows.filter((each) => each['name'] === 'some.name.example');
      const child = Number(made.said.get('child')?.[0]);
      const sent = one(t, own, 'as it left', (each) => each.proc.pid === child);
      t.match(sent?.proc, {
        comm: 'openssl',
        mntns_id: namespaceOf('mnt'),
        creds: { uid: 0, gid: 0 },
        parent: { comm: 'perl', pid: made.pid },
      });
      const received = one(t, own, 'as it came', (each) => each.proc.pid === made.pid);
      who(t, received, made, 'as it came');
      t.ok(own.every((row) => row['netns_id'] === namespaceOf('net')));
    },
  },
  {
    gadget: 'trace_ssl',
    work: () =>
      runPerl(String.raw`use IO::Handle; use Socket; my $key = "00112233445566778899aabbccddeeff"; my $probe; socket($probe, AF_INET, SOCK_STREAM, 0);
        bind($probe, pack_sockaddr_in(0, INADDR_LOOPBACK)) or die; my ($port) = unpack_sockaddr_in getsockname $probe; close $probe;
        pipe my $stdin, my $keep; pipe my $out, my $stdout; my $server = fork // die;
        if (!$server) { open STDIN, "<&", $stdin; open STDOUT, ">&", $stdout; open STDERR, ">", "/dev/null"; close $keep;
          exec "openssl", "s_server", "-accept", "127.0.0.1:$port", "-nocert", "-psk", $key, "-tls1_2" }
        close $stdout;
        while (<$out>) { last if /^ACCEPT/ }
        my $client = open(my $in, "|-", "openssl s_client -quiet -connect 127.0.0.1:$port -psk $key -tls1_2 >/dev/null 2>&1") or die;
        print $in "rawbpf says hello\n"; $in->flush; while (<$out>) { last if /rawbpf says/ } print "server $server\n"; kill 9, $server; close $in`),
    check(t, rows, made) {
      const server = Number(made.said.get('server')?.[0]);
      const sent = rows.filter((each) => each['operation'] === 'libssl_SSL_write' && text(each) === 'rawbpf says hello\n');
      const received = rows.filter((each) => each['operation'] === 'libssl_SSL_read' && text(each) === 'rawbpf says hello\n');
      t.equal(sent.length, 1, 'sent once');
      t.equal(received.length, 1, 'received once');
      // It negates what the function returned, also where that is a length.
      const error_raw = 2 ** 32 - 18;
      t.match(received[0], { len: 18, error_raw, operation_raw: 1, proc: { comm: 'openssl', pid: server, parent: { pid: made.pid } } });
      t.match(sent[0], { len: 18, error_raw, operation_raw: 2, proc: { comm: 'openssl', creds: { uid: 0, gid: 0 } } });
      for (const row of [...sent, ...received]) {
        t.ok(Number(row['latency_ns_raw']) > 0 && Number(row['latency_ns_raw']) < (made.to - made.from) * 1e6, 'how long it took');
        expectTime(t, row, made, 'data');
      }
      t.ok(
        rows.some((each) => each['operation'] === 'libssl_SSL_do_handshake' && each.proc.pid === server),
        'the handshake',
      );
    },
  },
  {
    gadget: 'snapshot_process',
    work: () => runPerl(''),
    check(t, rows) {
      const row = one(t, rows, 'this process', (each) => (each as unknown as JsonEvent['proc']).pid === process.pid);
      const own = row as unknown as JsonEvent['proc'];
      const comm = readFileSync('/proc/self/comm', 'utf8').trim();
      t.match(own, { comm, tid: process.pid, mntns_id: namespaceOf('mnt'), creds: { uid: 0, gid: 0 } });
      t.match(own.parent, { pid: process.ppid, comm: readFileSync(`/proc/${process.ppid}/comm`, 'utf8').trim() });
    },
  },
  {
    gadget: 'snapshot_file',
    args: ['--pid', String(process.pid), '--type-mask', '511', '--paths'],
    work: () => runPerl(''),
    check(t, rows) {
      t.ok(rows.length > 3, `${rows.length} files`);
      for (const row of rows) {
        const info = `/proc/self/fdinfo/${Number(row['fd'])}`;
        if (!existsSync(info)) continue;
        const flags = Number.parseInt(/^flags:\s+(\d+)$/m.exec(readFileSync(info, 'utf8'))?.[1] ?? '', 8);
        t.equal(row['flags_raw'], flags & ~0o2000000, info);
        t.match(row, { pid: process.pid, tid: process.pid, mntns_id: namespaceOf('mnt') });
        if (row['type'] === 'REGULAR') t.equal(row['inode'], statSync(`/proc/self/fd/${Number(row['fd'])}`).ino, `${info}: inode`);
      }
    },
  },
  {
    gadget: 'trace_tcpretrans',
    // Of its two programs one is a kprobe, which not every kernel has.
    args: ['--skip-unsupported'],
    work: () =>
      runPerl(`${loopbackPair} deafen($accepted);
        syswrite $client, "x"; select undef, undef, undef, 1; setsockopt($client, SOL_SOCKET, SO_LINGER, pack "ii", 1, 0)`),
    check(t, rows, made) {
      const own = rows.filter((row) => row['netns_id'] === Number(made.said.get('netns')?.[0]) && row['type_raw'] === 0);
      t.ok(own.length > 0, `${own.length} repetitions`);
      for (const row of own) {
        t.match(row, {
          src: endpoint('127.0.0.1', made.said.get('client')?.[0], 'TCP'),
          dst: endpoint('127.0.0.1', made.said.get('server')?.[0], 'TCP'),
          state: 1,
        });
        expectProcess(t, row.proc, { pid: made.pid, comm: 'perl' }, 'whose socket it is');
      }
    },
  },
  {
    gadget: 'snapshot_socket',
    work: async () => {
      const server = (await import('node:net')).createServer().listen(0, '127.0.0.1');
      await once(server, 'listening');
      listening = server;
      const { port } = server.address() as { port: number };
      const hex = port.toString(16).toUpperCase().padStart(4, '0');
      return await runPerl(
        `open my $f, "<", "/proc/net/tcp"; my ($line) = grep { /0100007F:${hex} 00000000:0000 0A/ } <$f>; print "port ${port}\\nino ", (split " ", $line)[9], "\\n"`,
      );
    },
    check(t, rows, made) {
      const port = made.said.get('port')?.[0];
      const row = one(t, rows, 'a listener', (each) => (each['src'] as { port: number }).port === Number(port) && each['state'] !== 6);
      t.match(row, {
        src: endpoint('127.0.0.1', port, 'TCP'),
        dst: endpoint('0.0.0.0', 0, 'TCP'),
        state: 10,
        netns_id: namespaceOf('net'),
      });
      t.equal(row?.['ino'], Number(made.said.get('ino')?.[0]), 'its inode, as /proc/net/tcp has it');
    },
  },
  {
    gadget: 'profile_cpu',
    work: () =>
      runPerl(
        // A second of the processor's time, however long a busy machine takes for it.
        'my $n = 0; open my $z, "<", "/dev/zero"; while ((times)[0] + (times)[1] < 1) { sysread $z, my $b, 65536 }',
      ),
    check(t, rows, made) {
      const own = rows.filter((row) => row.proc.pid === made.pid);
      const samples = own.reduce((sum, row) => sum + Number(row['samples']), 0);
      t.ok(samples > 10 && samples < 2 * 999, `${samples} samples of a second`);
      for (const row of own) expectProcess(t, row.proc, { pid: made.pid, comm: row.proc.comm }, 'sample');
      t.ok(
        own.some((row) => /read/.test(String(row['kern_stack']))),
        'kernel stacks',
      );
    },
  },
  {
    gadget: 'profile_blockio',
    work: async () => {
      const made = await run('dd', ['if=/dev/zero', `of=${scratch}/direct`, 'bs=64k', 'count=40', 'oflag=direct']);
      await wait(1500);
      return made;
    },
    check(t, rows) {
      const count = rows.flatMap((row) => row['latency'] as number[]).reduce((sum, slot) => sum + slot, 0);
      t.ok(count >= 40, `${count} requests`);
    },
  },
  {
    gadget: 'profile_qdisc_latency',
    work: () =>
      runPerl(String.raw`${networkPerl} own_network(); system("tc qdisc add dev lo root tbf rate 10mbit burst 10kb latency 1s") == 0 or die; socket(my $s, AF_INET, SOCK_DGRAM, 0);
        send($s, "x", 0, at(AF_INET, "127.0.0.1", 9)) for 1 .. 50; print "counted ", join("", qx(tc -s qdisc show dev lo)) =~ /Sent \d+ bytes (\d+)/, "\n"; sleep 2`),
    check(t, rows, made) {
      const count = rows.flatMap((row) => row['latency'] as number[]).reduce((sum, slot) => sum + slot, 0);
      const counted = Number(made.said.get('counted')?.[0]);
      t.ok(counted >= 50 && count >= counted, `${count} packets went through the queue, tc counts ${counted}`);
    },
  },
  {
    gadget: 'advise_networkpolicy',
    work: async (_, gadget) => {
      const made = await runPerl(loopbackPair, String(gadget));
      await wait(1500);
      return made;
    },
    check(t, rows, made) {
      const netns = Number(made.said.get('netns')?.[0]);
      const own = rows.filter((row) => row['netns_id'] === netns);
      const server = endpoint('127.0.0.1', made.said.get('server')?.[0], 'TCP');
      t.same(
        own.map((row) => Number(row['egress'])).toSorted((a, b) => a - b),
        [0, 1],
        'one opening, as it left and as it came',
      );
      for (const row of own) t.match(row['endpoint'], server);
    },
  },
  {
    gadget: 'tcpdump',
    args: ['--iface', 'lo'],
    work: () =>
      runPerl(String.raw`${networkPerl} socket(my $s, AF_INET, SOCK_DGRAM, 0); bind($s, at(AF_INET, "127.0.0.1", 0)); print "port ", port_of($s), "\n";
        send($s, "rawbpf-peer-payload", 0, at(AF_INET, "127.0.0.1", port_of $s))`),
    check(t, rows, made) {
      const hex = Buffer.from('rawbpf-peer-payload').toString('hex');
      const own = rows.filter((row) => String(row['payload']).includes(hex));
      t.same(
        own.map((row) => Number(row['packet_type'])).toSorted((a, b) => a - b),
        [0, 1],
        'as it left and as it came',
      );
      for (const row of own) {
        who(t, row, made, 'packet');
        t.match(row, { ifindex: 1, packet_size: 14 + 20 + 8 + 19, payload_len: 14 + 20 + 8 + 19 });
        t.ok(String(row['payload']).endsWith(hex), 'the whole packet');
      }
    },
  },
  {
    gadget: 'deadlock',
    work: async () => {
      const made = await run(path.join(folder, 'mutexes'), []);
      await wait(1500);
      return made;
    },
    check(t, rows, made) {
      const [first, second] = (made.said.get('mutexes') ?? []).map(Number);
      const own = rows.filter((row) => row['pid'] === made.pid);
      for (const [mutex1, mutex2] of [
        [first, second],
        [second, first],
      ]) {
        const row = one(t, own, `${mutex1} then ${mutex2}`, (each) => each['mutex1'] === mutex1 && each['mutex2'] === mutex2);
        t.match(row, { comm: 'mutexes', tid: made.pid, mntns_id: namespaceOf('mnt') });
        t.ok(Number(row?.['mutex1_stack_id']) >= 0 && Number(row?.['mutex2_stack_id']) >= 0);
      }
    },
  },
  {
    gadget: 'advise_seccomp',
    work: async () => {
      const made = await runPerl(
        `syscall(272, 0x20000) == 0 or die; print "mntns ", readlink("/proc/self/ns/mnt") =~ /(\\d+)/, "\\n"; syscall(140, 0, 0); syscall(159, 0)`,
      );
      await wait(1500);
      return made;
    },
    check(t, rows, made) {
      const own = rows.filter((row) => row['mntns_id_raw'] === Number(made.said.get('mntns')?.[0]));
      t.ok(own.length > 0, 'the namespace is there');
      const seen = (nr: number): boolean => own.some((row) => (row['syscalls'] as number[])[nr] === 1);
      t.same([140, 159, 231, 175].map(seen), [true, true, true, false], 'getpriority, adjtimex, exit_group, but not init_module');
    },
  },
];
