// A congestion control made of programs moves real traffic: what the kernel says of the connection (TCP_INFO, TCP_CONGESTION), and
// the bytes that arrive, are asked for by a program of its own.
import t from 'tap';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { loadCollection } from '../../src/bpf/collection/load.ts';
import { Kernel } from '../../src/bpf/kernel/kernel.ts';
import { openObject } from '../../src/bpf/object/open.ts';
import { fixture } from '../fixture.ts';
import { slowness } from '../support/patience.ts';

const kernel = new Kernel({ onNotice: () => {} });
const BPF_F_LINK = 1 << 13;
const bytes = (slowness > 1 ? 1 : 8) * 1024 * 1024;

/** Sends over lo with a congestion control, and prints its name, sums of what was sent and received, and the largest window seen. */
const traffic = String.raw`
  use Socket; my ($name, $size) = @ARGV; alarm 100;
  socket(my $socket, AF_INET, SOCK_STREAM, 0); setsockopt($socket, 6, 13, $name) or die "TCP_CONGESTION: $!";
  socket(my $listener, AF_INET, SOCK_STREAM, 0); bind($listener, pack_sockaddr_in(0, INADDR_LOOPBACK)) or die $!; listen($listener, 1);
  my $to = getsockname $listener;
  pipe(my $in, my $out);
  if (!fork) {
    alarm 100; close $socket;
    accept(my $peer, $listener); my ($sum, $count) = (0, 0);
    while (sysread $peer, my $data, 65536) { $sum = ($sum + unpack "%32C*", $data) % 4294967296; $count += length $data }
    syswrite $out, "$count $sum"; exit;
  }
  close $out;
  connect($socket, $to) or die $!;
  my ($sum, $sent, $most, $n) = (0, 0, 0, 0);
  while ($sent < $size) {
    my $data = pack "N*", map { $n++ * 2654435761 % 4294967296 } 1 .. 4096;
    for (my $at = 0; $at < length $data; ) { my $took = syswrite $socket, $data, length($data) - $at, $at; die $! unless $took; $at += $took }
    $sum = ($sum + unpack "%32C*", $data) % 4294967296; $sent += length $data;
    my $window = unpack "x80 L", getsockopt $socket, 6, 11; $most = $window if $window > $most;
  }
  my $used = getsockopt $socket, 6, 13; $used =~ s/\0.*//s;
  close $socket; sysread $in, my $got, 100; wait;
  print "$used $sent $sum $got $most\n";
`;

function send(name: string): { readonly name: string; readonly sent: string; readonly received: string; readonly window: number } {
  const { stdout, stderr } = spawnSync('perl', ['-e', traffic, name, String(bytes)], { encoding: 'utf8' });
  const [used = '', ...rest] = (stdout === '' ? stderr : stdout).trim().split(stdout === '' ? '\n' : ' ');
  return { name: used, sent: rest.slice(0, 2).join(' '), received: rest.slice(2, 4).join(' '), window: Number(rest[4]) };
}

const registered = (name: string): boolean =>
  readFileSync('/proc/sys/net/ipv4/tcp_available_congestion_control', 'utf8').split(/\s+/).includes(name);

/** BPF_F_LINK of struct_ops came with Linux 6.4: the kernel's BTF then knows the map flag's user. */
const hasLinks = kernel.vmlinuxBtf()?.findByName('bpf_struct_ops_link', 'STRUCT') !== null;
const hasStructOps = kernel.vmlinuxBtf()?.findByName('bpf_struct_ops_tcp_congestion_ops', 'STRUCT') !== null;

for (const [way, skip] of [
  ['filled', hasStructOps ? false : 'this kernel has no struct_ops for TCP'],
  ['linked', hasLinks ? false : 'struct_ops have links from Linux 6.4 on'],
] as const) {
  t.test(`a congestion control moves traffic: ${way}`, { skip }, async (t) => {
    const name = `rawbpf_${way}`;
    const spec = openObject(fixture('attach/reno.bpf.o'), { name: 'reno' });
    for (const map of spec.maps) if (map.structOps !== null && map.name !== name) map.autocreate = false;
    const collection = loadCollection(kernel, spec, { variables: { limit: 7 } });
    const ops = collection.structOps.find((each) => each.name === name);
    t.equal((ops?.map.flags ?? 0) & BPF_F_LINK, way === 'linked' ? BPF_F_LINK : 0);
    t.equal(registered(name), false);
    const link = ops?.register();
    t.equal(registered(name), true);
    const { name: used, sent, received, window } = send(name);
    t.equal(used, name);
    t.equal(received, sent, 'every byte arrived');
    t.match(sent, new RegExp(`^${bytes} `));
    t.ok(window > 1 && window <= 7, `its window, ${window}, is the program’s`);
    t.ok(Number(collection.variable('rounds').get()) > 5);
    t.ok(Number(collection.variable('acked_segments').get()) >= bytes / 65536, 'the kernel told it of every segment');
    t.same([collection.variable('begun').get(), collection.variable('ended').get()].map(Number), [1, 1]);
    link?.close();
    t.equal(registered(name), false, 'closing the link takes it away');
    t.match(send(name).name, /TCP_CONGESTION: No such file/);
    collection.close();
  });
}

t.test('the kernel’s own, for comparison: the window is not held down', async (t) => {
  const { name, sent, received, window } = send('reno');
  t.equal(name, 'reno');
  t.equal(received, sent);
  t.ok(window > 7, `${window} segments`);
});
