import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { toolPath } from '../support/netns.ts';
import { slowness } from '../support/patience.ts';
import { rawbpfPath } from '../support/run-gadget.ts';
import { Talk, type Traffic } from '../support/talk.ts';

t.setTimeout(110_000 * slowness);

const noTools = ['tshark', 'capinfos'].some((tool) => toolPath(tool) === null) && "not here: tshark, capinfos (Debian's tshark)";

/** What tshark says of each packet and capinfos of the file, compared with the capture beside it. */
function readByTools(test: Test, file: Buffer, { frames, sender, receiver, from, to }: Traffic): void {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-pcapng-'));
  test.teardown(() => rmSync(folder, { recursive: true }));
  const name = path.join(folder, 'packets.pcapng');
  writeFileSync(name, file);
  const read = (tool: string, ...args: readonly string[]): string => {
    const { status, stdout, stderr } = spawnSync(toolPath(tool) ?? '', args, { encoding: 'utf8', env: { ...process.env, HOME: folder } });
    test.equal(status, 0, `${tool}: ${stderr}`);
    return stdout;
  };
  const info = read('capinfos', '-M', '-c', '-E', '-t', '-I', name);
  test.match(info, /File type:\s+pcapng\b/);
  test.match(info, /File encapsulation:\s+ether\b/);
  test.match(info, /Number of packets:?\s+(?:= )?10\b/);
  test.match(info, /Name = lo\b/);
  test.match(info, /Time precision = nanoseconds \(9\)/);
  const fields = [
    'frame.time_epoch',
    'frame.len',
    'frame.cap_len',
    'frame.interface_name',
    'frame.packet_flags_direction',
    'frame.comment',
    'udp.length',
  ];
  const rows = read('tshark', '-n', '-r', name, '-T', 'fields', ...fields.flatMap((field) => ['-e', field]))
    .trim()
    .split('\n')
    .map((line) => line.split('\t'));
  test.equal(rows.length, 10, 'packets');
  for (const [time, length, captured, device, direction, comment, udp] of rows) {
    const out = Number(direction) === 2;
    const what = `${length} bytes, ${out ? 'outbound' : 'inbound'}`;
    const ms = Number(time) * 1000;
    test.ok(ms >= from - 1 && ms <= to + 1, `${what}: time`);
    test.equal(device, 'lo', what);
    test.equal(Number(captured), Math.min(200, Number(length)), `${what}: no more than --snaplen`);
    test.equal(Number(udp), Number(length) - 34, `${what}: the length of the datagram`);
    test.match(comment, new RegExp(`^comm=perl pid=${out ? sender : receiver} tid=`), `${what}: whose it is`);
  }
  for (const side of [1, 2])
    test.same(
      rows.filter((row) => Number(row[4]) === side).map((row) => Number(row[1])),
      frames.map((frame) => frame.length / 2),
      `sizes, ${side}`,
    );
}

interface Block {
  readonly type: number;
  readonly body: Buffer;
}

/** The blocks of a pcap-ng file; throws where one is not as the specification has it (draft-ietf-opsawg-pcapng, section 3.1). */
function blocksOf(file: Buffer): Block[] {
  const blocks: Block[] = [];
  for (let at = 0; at < file.length;) {
    const length = file.readUInt32LE(at + 4);
    if (length % 4 !== 0 || at + length > file.length) throw new Error(`a block of ${length} bytes at ${at} of ${file.length}`);
    if (file.readUInt32LE(at + length - 4) !== length) throw new Error(`the lengths of the block at ${at} differ`);
    blocks.push({ type: file.readUInt32LE(at), body: file.subarray(at + 8, at + length - 4) });
    at += length;
  }
  return blocks;
}

/** Options by their codes, up to the one that ends them. */
function optionsOf(body: Buffer, from: number): ReadonlyMap<number, Buffer> {
  const options = new Map<number, Buffer>();
  for (let at = from; at < body.length;) {
    const [code, length] = [body.readUInt16LE(at), body.readUInt16LE(at + 2)];
    if (code === 0) return options;
    options.set(code, body.subarray(at + 4, at + 4 + length));
    at += 4 + ((length + 3) & ~3);
  }
  throw new Error('the options have no end');
}

void t.test('-o pcap-ng: the very bytes of the packets, their times, directions, devices and processes', async (test) => {
  const talk = new Talk();
  const [port] = await talk.ports();
  const args = ['run', 'tcpdump', '-v', '--iface', 'lo', '--pf', `udp dst port ${port}`, '--snaplen', '200', '-o', 'pcap-ng'];
  const child = spawn(process.execPath, [rawbpfPath, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = once(child, 'close');
  const chunks: Buffer[] = [];
  let stderr = '';
  child.stdout.on('data', (data: Buffer) => chunks.push(data));
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
  while (!/: attached$/m.test(stderr) && child.exitCode === null) await Promise.race([once(child.stderr, 'data'), ended]);
  const traffic = await talk.send();
  child.kill('SIGINT');
  test.same(await ended, [0, null], 'it ends as it should');
  await talk.end();
  const file = Buffer.concat(chunks);
  await test.test("as Wireshark's own tools read it", { skip: noTools }, async (test) => readByTools(test, file, traffic));
  const [section, device, ...packets] = blocksOf(file);
  test.equal(section?.type, 0x0a0d0d0a);
  test.equal(section?.body.readUInt32LE(0), 0x1a2b3c4d, 'the byte order');
  test.equal(device?.type, 1);
  test.equal(device?.body.readUInt16LE(0), 1, 'LINKTYPE_ETHERNET');
  const ofDevice = optionsOf(device?.body ?? Buffer.alloc(0), 8);
  test.equal(ofDevice.get(2)?.toString(), 'lo', 'if_name');
  test.same(ofDevice.get(9), Buffer.of(9), 'if_tsresol: nanoseconds');
  test.equal(packets.length, 10);
  const seen = { EGRESS: [] as string[], INGRESS: [] as string[] };
  for (const { type, body } of packets) {
    test.equal(type, 6, 'an enhanced packet block');
    test.equal(body.readUInt32LE(0), 0, 'of that device');
    const time = Number((BigInt(body.readUInt32LE(4)) << 32n) | BigInt(body.readUInt32LE(8))) / 1e6;
    test.ok(time >= traffic.from - 1 && time <= traffic.to + 1, 'its time');
    const [captured, length] = [body.readUInt32LE(12), body.readUInt32LE(16)];
    const options = optionsOf(body, 20 + ((captured + 3) & ~3));
    const direction = (options.get(2)?.readUInt32LE(0) ?? 0) === 2 ? 'EGRESS' : 'INGRESS';
    seen[direction].push(`${length} ${body.subarray(20, 20 + captured).toString('hex')}`);
    const pid = direction === 'EGRESS' ? traffic.sender : traffic.receiver;
    test.match(options.get(1)?.toString(), new RegExp(`^comm=perl pid=${pid} tid=${pid} `), 'its process');
  }
  const wanted = traffic.frames.map((frame) => `${frame.length / 2} ${frame.slice(0, 400)}`);
  test.same(seen.EGRESS, wanted, 'what goes out, as the capture beside it has it');
  test.same(seen.INGRESS, wanted, 'what comes in');
});
