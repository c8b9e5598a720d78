// Prints fixtures/packet-filter/expected.json: packets of many kinds, and which of them tcpdump takes for each expression.
// Needs tcpdump; made with tcpdump 4.99.3 and libpcap 1.10.3 (Debian 12).
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

/** The same numbers each time (mulberry32). */
let seed = 20_261_123;
function random(below) {
  seed = (seed + 0x6d2b79f5) >>> 0;
  let mixed = Math.imul(seed ^ (seed >>> 15), seed | 1);
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
  return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
}
const pick = (list) => list[random(list.length)];
const u16 = (value) => [(value >> 8) & 255, value & 255];
const bytes = (count) => Array.from({ length: count }, () => random(256));

const macs = [
  [2, 0, 0, 0, 0, 1],
  [2, 0, 0, 0, 0, 2],
  [0x11, 0x22, 0x33, 0x44, 0x55, 0x66],
  [255, 255, 255, 255, 255, 255],
  [1, 0, 0x5e, 0, 0, 0xfb],
];
const v4 = [
  [10, 0, 0, 1],
  [10, 0, 0, 2],
  [10, 1, 2, 3],
  [192, 168, 1, 7],
  [224, 0, 0, 251],
  [0, 0, 0, 10],
];
const v6 = [
  [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
  [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
  [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 1],
  [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfb],
];
const portNumbers = [22, 53, 80, 81, 443, 8080, 40000];

function transport(protocol) {
  const ends = [...u16(pick(portNumbers)), ...u16(pick(portNumbers))];
  switch (protocol) {
    case 6:
      return [...ends, ...bytes(8), 0x50, pick([2, 0x12, 0x10, 0x11, 4, 0x18]), ...bytes(6), ...bytes(random(20))];
    case 17:
      return [...ends, ...u16(8 + 12), ...bytes(2), ...bytes(12)];
    case 132:
      return [...ends, ...bytes(8), ...bytes(random(16))];
    case 1:
      return [pick([0, 3, 5, 8, 11]), pick([0, 1, 3]), ...bytes(6 + random(10))];
    case 58:
      return [pick([1, 128, 129, 135, 136]), pick([0, 1]), ...bytes(10)];
    default:
      return bytes(random(24));
  }
}

function ipv4() {
  const protocol = pick([6, 6, 6, 6, 6, 17, 17, 17, 132, 132, 1, 1, 2, 50, 51, 103, 112, 47]);
  const options = pick([0, 0, 0, 1, 5, 10]);
  const fragment = pick([0, 0, 0, 0x4000, 0x2000, 0x2001, 0x00b9]);
  const body = transport(protocol);
  const length = 20 + options * 4 + body.length;
  const header = [0x45 + options, random(256), ...u16(length), ...bytes(2), ...u16(fragment), pick([1, 64]), protocol, ...bytes(2)];
  return [...header, ...pick(v4), ...pick(v4), ...bytes(options * 4), ...body];
}

function ipv6() {
  const protocol = pick([6, 6, 6, 17, 17, 132, 58, 58, 58, 51, 0]);
  const body = transport(protocol);
  const fragment = pick([false, false, true]);
  const inner = fragment ? [protocol, 0, ...u16(pick([0, 1, 8])), ...bytes(4), ...body] : body;
  return [0x60, ...bytes(3), ...u16(inner.length), fragment ? 44 : protocol, 64, ...pick(v6), ...pick(v6), ...inner];
}

const arp = () => [0, 1, 8, 0, 6, 4, 0, pick([1, 2]), ...pick(macs), ...pick(v4), ...pick(macs), ...pick(v4)];

function frame() {
  const [type, body] = pick([
    () => [0x0800, ipv4()],
    () => [0x0800, ipv4()],
    () => [0x0800, ipv4()],
    () => [0x86dd, ipv6()],
    () => [0x86dd, ipv6()],
    () => [pick([0x0806, 0x8035]), arp()],
    () => [pick([38, 100]), [0x42, 0x42, 3, ...bytes(35)]],
    () => [0x88cc, bytes(40)],
  ])();
  const tags = pick([
    [],
    [],
    [],
    [],
    [[0x8100, 5]],
    [[0x8100, 7]],
    [
      [0x88a8, 5],
      [0x8100, 7],
    ],
  ]);
  const whole = [
    ...pick(macs),
    ...pick(macs),
    ...tags.flatMap(([tag, id]) => [...u16(tag), ...u16(id | (random(8) << 13))]),
    ...u16(type),
    ...body,
  ];
  // Some end before their time; Linux 6.18 test-runs no packet without its first IP header.
  const least = 14 + (tags.length > 0 ? 0 : type === 0x0800 ? 20 : type === 0x86dd ? 40 : 0);
  return random(8) === 0 ? whole.slice(0, Math.max(least, random(whole.length))) : whole;
}

const expressions = `
ip;ip6;arp;rarp;tcp;udp;sctp;icmp;icmp6;igmp;pim;vrrp;ah;esp;stp;not ip;not tcp;ip or arp and not tcp
host 10.0.0.1;src host 10.0.0.1;dst host 10.0.0.1;src or dst host 10.1.2.3;src and dst host 10.0.0.2;src 10.0.0.1;dst 192.168.1.7
host 10;host 10.1;ip host 10.0.0.1;arp host 10.0.0.1;rarp src host 10.0.0.2;not host 10.0.0.1;not (src host 10.0.0.1 or dst host 10.0.0.1)
net 10;net 10.1;net 10.0.0;net 10.0.0.0/8;src net 192.168.0.0/16;dst net 10.0.0.0/30;net 10.0.0.0 mask 255.0.0.0;net 0.0.0.0/0;ip net 224.0.0.0/4
host 2001:db8::1;src host fe80::ff:fe00:1;dst host ff02::fb;net 2001:db8::/32;net 2001:db8:0:0::/64;src net ::/0;ip6 host 2001:db8::1;dst net ff00::/8
port 80;src port 80;dst port 443;tcp port 80;udp port 53;sctp port 80;src or dst port 53;src and dst port 53;port 80 or 443;tcp port (80 or 443)
tcp port 80 and not 443;not port 53;port 80 or port 53 and udp;portrange 80-90;tcp portrange 22-443;udp dst portrange 8000-9000;src portrange 443-80;portrange 80
ip proto 6;ip proto \\tcp;ip6 proto 58;ip6 proto 6;proto \\udp;proto 17;ip proto 47;proto 51;ether proto 0x800;ether proto \\ip6;ether proto 0x88cc;ether proto \\arp
ether host 02:00:00:00:00:01;ether src 2:0:0:0:0:2;ether dst ff:ff:ff:ff:ff:ff;ether src or dst 1122.3344.5566;ether src and dst 11-22-33-44-55-66;ether dst 02.00.00.00.00.01
broadcast;ether broadcast;multicast;ether multicast;ip multicast;ip6 multicast;less 60;greater 80;len > 60;len = 62;len >= 40 and len <= 70
tcp[13] & 2 != 0;tcp[tcpflags] & (tcp-syn|tcp-fin) != 0;tcp[tcpflags] == tcp-syn;tcp[tcpflags] = tcp-push;tcp[tcpflags] & tcp-ack = 0;not tcp[13] = 2
icmp[icmptype] = icmp-echo;icmp[icmptype] != icmp-echoreply and icmp[icmpcode] = 0;icmp6[icmp6type] = icmp6-echo;icmp6[0] >= 135;icmp6[icmp6code] = 1
ip[0] & 0xf != 5;ip[6:2] & 0x1fff != 0;ip[8] < 5;ip[12:4] = 0x0a000001;ip[16] >= 224;ip6[6] = 44;ip6[40] = 6;arp[6:2] = 2;rarp[7] = 1;ether[0] & 1 = 0 and ip[16] >= 224
ether[12:2] > 1500;ether[12:2] & 0x8000 = 0x8000;udp[4:2] = 20;udp[0:2] > udp[2:2];sctp[0:2] > 1024;igmp[0] > 100;pim[1] < 128
ip[2:2] - ((ip[0] & 0xf) << 2) > 30;tcp[0:2] + tcp[2:2] > 500;ip[ip[0] & 3] = ip[1];tcp[12] >> 2 > 19;tcp[4:4] * 3 > 1000;ip[4:2] / 7 > ip[5] * 30;ip[8] ^ 1 = 0;ip[1] % 4 = 3;len - 14 = ip[2:2]
1 = 1;1 = 2;5 > 3 and tcp;6|2&1=0;1|2^2=1 and udp;2*7%4=6 and ip;0x10 = 16 and 010 = 8 and arp;ip[1] / ip[6] > 0;ip[9] << 1 = 12;not ip[60] = 1
vlan;vlan 5;vlan 7;vlan and ip;vlan 5 and tcp;vlan and vlan;vlan 5 and vlan 7 and ip;vlan and host 10.0.0.1;vlan and tcp port 80;not vlan;vlan or ip;ip or vlan;vlan and tcp[13] & 2 != 0;vlan and arp
tcp or udp and port 53;(tcp or udp) and port 53;tcp and (port 80 or port 443) and not src net 10.0.0.0/8;host 10.0.0.1 and 10.0.0.2;not host 10.0.0.1 and not 10.0.0.2;src host 10.0.0.1 or dst port 80
!tcp && !udp;tcp || arp;!(tcp || udp);not not tcp;((((ip))));host (10.0.0.1 or 10.1.2.3);src host (10.0.0.1 or 10.0.0.2) and udp;ip and not (tcp or udp or icmp)
`
  .trim()
  .split(/[;\n]/)
  .map((expression) => expression.trim());

const packets = Array.from({ length: 480 }, () => Uint8Array.from(frame()));

function pcapFile() {
  const header = Buffer.alloc(24);
  header.writeUInt32LE(0xa1b2c3d4, 0);
  header.writeUInt16LE(2, 4);
  header.writeUInt16LE(4, 6);
  header.writeUInt32LE(65535, 16);
  header.writeUInt32LE(1, 20);
  const parts = [header];
  for (const [i, packet] of packets.entries()) {
    const record = Buffer.alloc(16);
    record.writeUInt32LE(i, 0);
    record.writeUInt32LE(packet.length, 8);
    record.writeUInt32LE(packet.length, 12);
    parts.push(record, packet);
  }
  return Buffer.concat(parts);
}

/** Times of packets, which are their numbers. */
function numbersIn(pcap) {
  const numbers = [];
  for (let at = 24; at < pcap.length; at += 16 + pcap.readUInt32LE(at + 8)) numbers.push(pcap.readUInt32LE(at));
  return numbers;
}

const folder = mkdtempSync(path.join(os.tmpdir(), 'pf-golden-'));
const file = path.join(folder, 'packets.pcap');
writeFileSync(file, pcapFile());
const matches = {};
for (const expression of new Set(expressions)) {
  const run = spawnSync('tcpdump', ['-r', file, '-w', '-', expression], { maxBuffer: 1 << 26 });
  const refused = run.status !== 0 && !String(run.stderr).includes('rejects all packets');
  if (refused) throw new Error(`${expression}: ${run.stderr}`);
  const taken = new Uint8Array(packets.length / 8);
  for (const number of run.status === 0 ? numbersIn(run.stdout) : []) taken[number >> 3] |= 1 << (number & 7);
  matches[expression] = Buffer.from(taken).toString('hex');
}
rmSync(folder, { recursive: true });
console.log(JSON.stringify({ packets: packets.map((packet) => Buffer.from(packet).toString('hex')), matches }, null, 1));
