import { all, any, binary, compare, equal, load, masked, metadata, number, type Condition, type Value } from './condition.ts';
import { ETHER_TYPES, TRANSPORTS, VLAN_TYPES, type EtherName, type TransportName } from './names.ts';

/** Which end of a packet is meant. */
export type Direction = 'either' | 'src' | 'dst' | 'both';

const etherHeader = 14;
const fragmentHeader = 44;
/** Bits of the fragment's offset in the header of IPv4. */
const fragmentOffset = 0x1fff;

/**
 * The headers of an Ethernet frame, behind the VLAN tags that the expression has named so far: each moves what an expression
 * says later by four bytes, as in libpcap.
 */
export class Frame {
  #tags = 0;

  /** Bytes from the frame's very beginning. */
  fromStart(at: Value, size: 1 | 2 | 4): Value {
    return load(at, size);
  }

  /** Bytes of the header behind Ethernet's: of IP, ARP... */
  network(at: Value, size: 1 | 2 | 4): Value {
    return load(binary('ADD', this.#behindTags(etherHeader), at), size);
  }

  /** Bytes of the header behind IPv4's, whose length stands in its first byte. */
  transport(at: Value, size: 1 | 2 | 4): Value {
    const words = binary('AND', this.network(number(0), 1), number(0xf));
    return this.network(binary('ADD', binary('MUL', words, number(4)), at), size);
  }

  type(name: EtherName): Condition {
    return this.typeIs(ETHER_TYPES[name]);
  }

  typeIs(type: number): Condition {
    return equal(this.#type(), type);
  }

  /** A frame of spanning tree: no EtherType but a length, and its own access point behind that. */
  spanningTree(): Condition {
    return all(compare('JLE', this.#type(), number(1500)), equal(load(this.#behindTags(etherHeader), 1), 0x42));
  }

  /** A frame with a VLAN tag, of the VLAN `id` where that is no null; what is built later lies behind the tag. */
  vlan(id: number | null): Condition {
    const types = VLAN_TYPES.map((type) => equal(this.#type(), type)) as [Condition, ...Condition[]];
    const inFrame = id === null ? any(...types) : all(any(...types), masked(load(this.#behindTags(etherHeader), 2), 0xfff, id));
    this.#tags++;
    if (this.#tags > 1) return inFrame;
    // The outer tag has mostly been taken out of the frame by then (skb_vlan_untag).
    const present = compare('JNE', metadata('vlan_present'), number(0));
    return any(id === null ? present : all(present, masked(metadata('vlan_tci'), 0xfff, id)), inFrame);
  }

  #type(): Value {
    return load(this.#behindTags(12), 2);
  }

  #behindTags(at: number): Value {
    if (this.#tags === 0) return number(at);
    return binary('ADD', metadata('vlan_shift'), number(at + 4 * (this.#tags - 1)));
  }
}

/** `source` and `destination` as a direction asks for them. */
function towards(direction: Direction, source: Condition, destination: Condition): Condition {
  if (direction === 'src') return source;
  if (direction === 'dst') return destination;
  return direction === 'both' ? all(source, destination) : any(source, destination);
}

/** Whether words of the network header, from `at` on, are those of an address under a mask. */
function addressAt(frame: Frame, at: number, words: readonly number[], masks: readonly number[]): Condition {
  const parts = words.map((word, i) => masked(frame.network(number(at + i * 4), 4), masks[i] ?? 0, word));
  return all(...(parts as [Condition, ...Condition[]]));
}

/** The addresses in a packet of IPv4, IPv6, ARP or RARP. */
export function address(
  frame: Frame,
  type: EtherName,
  direction: Direction,
  words: readonly number[],
  masks: readonly number[],
): Condition {
  const [source, destination] = { ip: [12, 16], ip6: [8, 24], arp: [14, 24], rarp: [14, 24] }[type] as [number, number];
  return all(frame.type(type), towards(direction, addressAt(frame, source, words, masks), addressAt(frame, destination, words, masks)));
}

export function etherAddress(frame: Frame, direction: Direction, bytes: readonly number[]): Condition {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = bytes;
  const at = (offset: number): Condition =>
    all(
      equal(frame.fromStart(number(offset + 2), 4), ((c << 24) | (d << 16) | (e << 8) | f) >>> 0),
      equal(frame.fromStart(number(offset), 2), (a << 8) | b),
    );
  return towards(direction, at(6), at(0));
}

/** A packet of IPv4 (`ip`) or IPv6 that carries a protocol, for IPv6 also behind one header for fragments. */
export function carries(frame: Frame, version: 'ip' | 'ip6', protocol: number): Condition {
  if (version === 'ip') return all(frame.type('ip'), equal(frame.network(number(9), 1), protocol));
  const next = frame.network(number(6), 1);
  const inFragment = all(equal(next, fragmentHeader), equal(frame.network(number(40), 1), protocol));
  return all(frame.type('ip6'), any(equal(next, protocol), inFragment));
}

export function carriesOver(frame: Frame, over: 'ip' | 'ip6' | 'both', protocol: number): Condition {
  return over === 'both' ? any(carries(frame, 'ip', protocol), carries(frame, 'ip6', protocol)) : carries(frame, over, protocol);
}

/** Only the first fragment of an IPv4 packet has the header of what it carries. */
export function isFirstFragment(frame: Frame): Condition {
  return masked(frame.network(number(6), 2), fragmentOffset, 0);
}

/** Ports from `first` to `last` of these protocols. */
export function ports(
  frame: Frame,
  protocols: readonly ('tcp' | 'udp' | 'sctp')[],
  direction: Direction,
  first: number,
  last: number,
): Condition {
  const within = (port: Value): Condition =>
    first === last ? equal(port, first) : all(compare('JGE', port, number(first)), compare('JLE', port, number(last)));
  const oneOf = (field: Value): Condition =>
    any(...(protocols.map((name) => equal(field, TRANSPORTS[name].number)) as [Condition, ...Condition[]]));
  const ends = (header: (at: Value) => Value): Condition => towards(direction, within(header(number(0))), within(header(number(2))));
  return any(
    all(
      frame.type('ip6'),
      oneOf(frame.network(number(6), 1)),
      ends((at) => frame.network(binary('ADD', number(40), at), 2)),
    ),
    all(
      frame.type('ip'),
      oneOf(frame.network(number(9), 1)),
      isFirstFragment(frame),
      ends((at) => frame.transport(at, 2)),
    ),
  );
}

/** What must hold for the header of a protocol to be there, and its bytes. */
export function header(
  frame: Frame,
  name: EtherName | TransportName | 'ether',
): {
  readonly there: Condition | null;
  readonly bytes: (at: Value, size: 1 | 2 | 4) => Value;
} {
  switch (name) {
    case 'ether':
      return { there: null, bytes: (at, size) => frame.fromStart(at, size) };
    case 'ip':
    case 'ip6':
    case 'arp':
    case 'rarp':
      return { there: frame.type(name), bytes: (at, size) => frame.network(at, size) };
    case 'icmp6':
      return {
        there: all(frame.type('ip6'), equal(frame.network(number(6), 1), TRANSPORTS.icmp6.number)),
        bytes: (at, size) => frame.network(binary('ADD', number(40), at), size),
      };
    default:
      return {
        there: all(carries(frame, 'ip', TRANSPORTS[name].number), isFirstFragment(frame)),
        bytes: (at, size) => frame.transport(at, size),
      };
  }
}
