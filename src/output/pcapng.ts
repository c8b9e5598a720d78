import { UsageError } from '../error.ts';
import type { DataSource } from '../gadget/data-source.ts';
import type { Field } from '../gadget/field.ts';
import type { EventRecord } from '../gadget/record.ts';

/** Block types, options and values of pcap-ng (IETF draft-ietf-opsawg-pcapng). */
const BLOCK = { SECTION_HEADER: 0x0a0d0d0a, INTERFACE: 1, ENHANCED_PACKET: 6 } as const;
const OPTION = { END: 0, COMMENT: 1, SHB_USERAPPL: 4, IF_NAME: 2, IF_TSRESOL: 9, EPB_FLAGS: 2 } as const;
const byteOrderMagic = 0x1a2b3c4d;
const linkTypeEthernet = 1;
const nanoseconds = 9;
const flagInbound = 1;
const flagOutbound = 2;
/** What Wireshark refuses to read is refused here. */
const maxPacket = 262144;

/** Parts of a comment: what it calls them, and the fields they come from, the first that says something. */
const commentParts: readonly (readonly [label: string, fields: readonly string[]])[] = [
  ['comm', ['proc.comm']],
  ['pid', ['proc.pid']],
  ['tid', ['proc.tid']],
  ['container', ['k8s.containerName', 'runtime.containerName', 'runtime.containerId']],
  ['pod', ['k8s.podName']],
  ['namespace', ['k8s.namespace']],
  ['netns', ['netns_id']],
];

/** Writes packets as pcap-ng, with the process and the container of each in its comment. */
export class PcapngWriter {
  readonly #payload: Field;
  readonly #time: Field;
  readonly #size: Field | null;
  readonly #device: Field | null;
  readonly #direction: Field | null;
  readonly #comment: readonly (readonly [label: string, fields: readonly Field[]])[];
  /** Numbers of interface blocks, by the devices' indices. */
  readonly #interfaces = new Map<number, number>();
  readonly #deviceName: (ifindex: number) => string;

  /** Throws UsageError `E_OUTPUT_PCAP` for a source whose annotations name no packets. */
  constructor(source: DataSource, deviceName: (ifindex: number) => string = (ifindex) => `device ${ifindex}`) {
    this.#deviceName = deviceName;
    const annotated = (name: string): string => source.annotations.get(name) ?? '';
    const payload = source.find(annotated('pcap.payload'));
    const time = source.find(`${annotated('pcap.timestamp')}_raw`) ?? source.find(annotated('pcap.timestamp'));
    if (payload === null || time === null) {
      throw new UsageError({
        code: 'E_OUTPUT_PCAP',
        what: 'events of this gadget are no packets',
        where: { 'data source': source.name },
        why: 'its annotations pcap.payload and pcap.timestamp name no fields',
        next: 'choose another output, such as -o json',
      });
    }
    this.#payload = payload;
    this.#time = time;
    this.#size = source.find(annotated('pcap.packet-length'));
    this.#device = source.find('ifindex');
    this.#direction = source.find('packet_type');
    this.#comment = commentParts.map(([label, names]) => [label, names.flatMap((name) => source.find(name) ?? [])]);
  }

  /** What a file begins with. */
  header(): Uint8Array {
    const body = Buffer.alloc(16);
    body.writeUInt32LE(byteOrderMagic, 0);
    body.writeUInt16LE(1, 4);
    // The length of the section is not known.
    body.fill(0xff, 8);
    return block(BLOCK.SECTION_HEADER, body, option(OPTION.SHB_USERAPPL, Buffer.from('rawbpf')));
  }

  /** A packet, after its interface where that is new. */
  packet(record: EventRecord): Uint8Array {
    const device = this.#device?.number(record) ?? 0;
    let number = this.#interfaces.get(device);
    const before: Uint8Array[] = [];
    if (number === undefined) {
      number = this.#interfaces.size;
      this.#interfaces.set(device, number);
      before.push(interfaceBlock(this.#deviceName(device)));
    }
    const value = this.#payload.value(record);
    const payload = value instanceof Uint8Array ? value.subarray(0, maxPacket) : new Uint8Array(0);
    const time = BigInt.asUintN(64, this.#time.wide(record));
    const body = Buffer.alloc(20 + padded(payload.length));
    body.writeUInt32LE(number, 0);
    body.writeUInt32LE(Number(time >> 32n), 4);
    body.writeUInt32LE(Number(time & 0xffffffffn), 8);
    body.writeUInt32LE(payload.length, 12);
    body.writeUInt32LE(Math.max(this.#size?.number(record) ?? 0, payload.length), 16);
    body.set(payload, 20);
    const flags = Buffer.alloc(4);
    flags.writeUInt32LE(this.#flags(record));
    const options = [option(OPTION.EPB_FLAGS, flags)];
    const comment = this.#commentOf(record);
    if (comment !== '') options.push(option(OPTION.COMMENT, Buffer.from(comment)));
    return Buffer.concat([...before, block(BLOCK.ENHANCED_PACKET, body, ...options)]);
  }

  #flags(record: EventRecord): number {
    const direction = this.#direction?.text(record) ?? '';
    if (direction.startsWith('INGRESS')) return flagInbound;
    return direction.startsWith('EGRESS') ? flagOutbound : 0;
  }

  #commentOf(record: EventRecord): string {
    const said: string[] = [];
    for (const [label, fields] of this.#comment) {
      const text = fields.map((field) => field.text(record)).find((each) => each !== '' && each !== '0');
      if (text !== undefined) said.push(`${label}=${text}`);
    }
    return said.join(' ');
  }
}

function interfaceBlock(name: string): Buffer {
  const body = Buffer.alloc(8);
  body.writeUInt16LE(linkTypeEthernet, 0);
  body.writeUInt32LE(maxPacket, 4);
  return block(BLOCK.INTERFACE, body, option(OPTION.IF_NAME, Buffer.from(name)), option(OPTION.IF_TSRESOL, Buffer.of(nanoseconds)));
}

function block(type: number, body: Buffer, ...options: readonly Buffer[]): Buffer {
  const end = option(OPTION.END, Buffer.alloc(0));
  const length = 12 + body.length + options.reduce((sum, each) => sum + each.length, end.length);
  const head = Buffer.alloc(8);
  head.writeUInt32LE(type, 0);
  head.writeUInt32LE(length, 4);
  return Buffer.concat([head, body, ...options, end, head.subarray(4)]);
}

function option(code: number, value: Buffer): Buffer {
  const bytes = Buffer.alloc(4 + padded(value.length));
  bytes.writeUInt16LE(code, 0);
  bytes.writeUInt16LE(value.length, 2);
  bytes.set(value, 4);
  return bytes;
}

/** Everything is padded to four bytes. */
function padded(length: number): number {
  return (length + 3) & ~3;
}
