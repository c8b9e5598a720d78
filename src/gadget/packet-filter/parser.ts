import type { UsageError } from '../../error.ts';
import { didYouMean } from '../../bytes/suggest.ts';
import {
  all,
  any,
  binary,
  compare,
  equal,
  metadata,
  not,
  number,
  type ArithmeticOp,
  type Condition,
  type Relation,
  type Value,
} from './condition.ts';
import { filterError } from './filter-error.ts';
import { prefixMask } from './prefix.ts';
import { CONSTANTS, ETHER_TYPES, isEtherType, isTransport, protocolNamed, serviceNamed, TRANSPORTS, type ProtocolName } from './names.ts';
import { address, carriesOver, etherAddress, Frame, header, ports, type Direction } from './primitives.ts';
import { tokenize, type Token } from './tokens.ts';

type Kind = 'host' | 'net' | 'port' | 'portrange' | 'proto';

/** The words before an address, port or protocol; what follows `and` or `or` without any takes those from before. */
interface Qualifiers {
  readonly protocol: ProtocolName | null;
  readonly direction: Direction;
  readonly kind: Kind;
}

/** A part of an expression, and the qualifiers that it leaves for what follows; null where a bare address may not follow. */
interface Parsed {
  readonly condition: Condition;
  readonly qualifiers: Qualifiers | null;
}

interface Operand {
  readonly value: Value;
  /** What must hold for the headers that the value is read from to be there. */
  readonly there: Condition | null;
}

const relations: Readonly<Record<string, Relation>> = {
  '=': 'JEQ',
  '==': 'JEQ',
  '!=': 'JNE',
  '>': 'JGT',
  '>=': 'JGE',
  '<': 'JLT',
  '<=': 'JLE',
};
/** Tighter ones later. `^` and `%` have no place among them: see {@link Parser.operand}. */
const levels: readonly Readonly<Record<string, ArithmeticOp>>[] = [
  { '|': 'OR' },
  { '&': 'AND' },
  { '<<': 'LSH', '>>': 'RSH' },
  { '+': 'ADD', '-': 'SUB' },
  { '*': 'MUL', '/': 'DIV' },
];
const loose: Readonly<Record<string, ArithmeticOp>> = { '^': 'XOR', '%': 'MOD' };
const kinds: ReadonlySet<string> = new Set(['host', 'net', 'port', 'portrange', 'proto']);
const directions: ReadonlySet<string> = new Set(['src', 'dst']);
/** Words of the language that libpcap knows and that no packet of a gadget can answer, or that nobody uses here. */
const unsupported: ReadonlySet<string> = new Set(
  (
    'gateway protochain inbound outbound ifname ifindex on rnr rulenum reason rset ruleset srnr subrulenum action mpls pppoed pppoes geneve vxlan llc iso clnp esis isis ' +
    'l1 l2 iih lsp snp csnp psnp atalk aarp decnet lat moprc mopdl sca ipx netbeui wlan fddi tr ppp slip type subtype dir lane oam hopcount sio opc dpc sls addr1 addr2 addr3 addr4 ra ta'
  ).split(' '),
);
const words = [
  'and',
  'or',
  'not',
  'ether',
  'link',
  'len',
  'less',
  'greater',
  'vlan',
  'stp',
  'broadcast',
  'multicast',
  'mask',
  'src',
  'dst',
];
/** Deeper expressions are a mistake. */
const maxDepth = 100;
const most32 = 0xffff_ffff;

/** Reads an expression in the language of pcap-filter(7). Throws UsageError `E_PACKET_FILTER` that points to what is wrong. */
export function parsePacketFilter(expression: string): Condition {
  return new Parser(expression).parse();
}

class Parser {
  readonly #expression: string;
  readonly #tokens: readonly Token[];
  #next = 0;
  #depth = 0;
  readonly #frame = new Frame();

  constructor(expression: string) {
    this.#expression = expression;
    this.#tokens = tokenize(expression);
  }

  parse(): Condition {
    const { condition } = this.#alternatives(null);
    if (this.#token.kind !== 'end') throw this.#error('here the expression should end, or go on with and, or');
    return condition;
  }

  get #token(): Token {
    return this.#tokens[this.#next] as Token;
  }

  #error(why: string, token: Token = this.#token, next?: string): UsageError {
    return filterError(this.#expression, token.at, why, next);
  }

  /** Takes the next token where it is this sign or word of the language. */
  #take(...texts: readonly string[]): boolean {
    const token = this.#token;
    if (token.kind !== 'sign' && (token.kind !== 'word' || token.escaped)) return false;
    if (!texts.includes(token.text)) return false;
    this.#next++;
    return true;
  }

  #expect(text: string): void {
    if (!this.#take(text)) throw this.#error(`here a ${text} is missing`);
  }

  #deeper<T>(parse: () => T): T {
    if (++this.#depth > maxDepth) throw this.#error('it is nested too deeply');
    const result = parse();
    this.#depth--;
    return result;
  }

  /** `and` and `or` bind equally, from the left. */
  #alternatives(inherited: Qualifiers | null): Parsed {
    let left = this.#term(inherited);
    for (;;) {
      const conjunction = this.#take('and', '&&');
      if (!conjunction && !this.#take('or', '||')) return left;
      const right = this.#term(left.qualifiers);
      const combine = conjunction ? all : any;
      left = { condition: combine(left.condition, right.condition), qualifiers: right.qualifiers };
    }
  }

  #term(inherited: Qualifiers | null): Parsed {
    if (this.#take('not', '!')) {
      const { condition, qualifiers } = this.#deeper(() => this.#term(inherited));
      return { condition: not(condition), qualifiers };
    }
    const relation = this.#relation();
    if (relation !== null) return { condition: relation, qualifiers: null };
    if (this.#token.text === '(') return this.#parentheses(inherited);
    const token = this.#token;
    if (token.kind === 'word' && !token.escaped) {
      const special = this.#special(token.name);
      if (special !== null) return { condition: special, qualifiers: null };
      if (isEtherType(token.name) || isTransport(token.name) || directions.has(token.name) || kinds.has(token.name))
        return this.#qualified();
      if (token.name === 'ether' || token.name === 'link') return this.#qualified();
      if (unsupported.has(token.name)) throw this.#error(`${token.name} is not supported here`);
    }
    if (inherited === null) throw this.#bare(token);
    return this.#identifier(inherited);
  }

  #bare(token: Token): UsageError {
    if (token.kind === 'end') return this.#error('it ends where an address, a port or a protocol should follow');
    if (token.kind === 'number' || token.kind === 'ipv4' || token.kind === 'ipv6') {
      return this.#error(`it does not say what ${token.text} is`, token, 'write host, net, port, proto... before it');
    }
    const known = [...words, ...kinds, ...Object.keys(TRANSPORTS), ...Object.keys(ETHER_TYPES)];
    const hint = token.kind === 'word' ? didYouMean(token.name, known) : '';
    return this.#error(`${token.text} is no word of the language`, token, hint === '' ? undefined : hint);
  }

  #parentheses(inherited: Qualifiers | null): Parsed {
    this.#next++;
    const { condition, qualifiers } = this.#deeper(() => this.#alternatives(inherited));
    this.#expect(')');
    // Behind parentheses a bare address is an error, unless they hold nothing but bare ones themselves.
    return { condition, qualifiers: inherited === null ? null : qualifiers };
  }

  /** Conditions with words of their own. */
  #special(name: string): Condition | null {
    switch (name) {
      case 'less':
      case 'greater':
        this.#next++;
        return compare(name === 'less' ? 'JLE' : 'JGE', metadata('len'), number(this.#number('a length')));
      case 'vlan': {
        this.#next++;
        const id = this.#token.kind === 'number' ? this.#number('the ID of a VLAN') : null;
        if (id !== null && id > 0xfff) throw this.#error(`no VLAN has the ID ${id}`, this.#tokens[this.#next - 1]);
        return this.#frame.vlan(id);
      }
      case 'stp':
        this.#next++;
        return this.#frame.spanningTree();
      case 'broadcast':
      case 'multicast':
        return this.#cast(null);
      default:
        return null;
    }
  }

  #cast(protocol: ProtocolName | null): Condition {
    const token = this.#token;
    this.#next++;
    const frame = this.#frame;
    if (protocol === null || protocol === 'ether') {
      if (token.text === 'broadcast') return etherAddress(frame, 'dst', [255, 255, 255, 255, 255, 255]);
      return compare('JNE', binary('AND', frame.fromStart(number(0), 1), number(1)), number(0));
    }
    if (token.text === 'multicast' && protocol === 'ip')
      return all(frame.type('ip'), compare('JGE', frame.network(number(16), 1), number(224)));
    if (token.text === 'multicast' && protocol === 'ip6') return all(frame.type('ip6'), equal(frame.network(number(24), 1), 255));
    const why = protocol === 'ip' ? 'the mask of the network is not known' : `there is no ${token.text} of ${protocol}`;
    throw this.#error(why, token);
  }

  /** A protocol, a direction, a kind, each once at most, and what they are said of. */
  #qualified(): Parsed {
    const first = this.#token;
    const protocol = this.#protocol();
    if (protocol !== null && (this.#token.text === 'broadcast' || this.#token.text === 'multicast')) {
      return { condition: this.#cast(protocol), qualifiers: null };
    }
    const direction = this.#direction();
    const kind = this.#kind();
    if (direction === null && kind === null) {
      if (protocol !== null && protocol !== 'ether') return { condition: this.#isProtocol(protocol), qualifiers: null };
      throw this.#error(`${first.text} must be followed by host, proto, src, dst, broadcast or multicast`);
    }
    return this.#deeper(() => this.#identifiers({ protocol, direction: direction ?? 'either', kind: kind ?? 'host' }));
  }

  #protocol(): ProtocolName | null {
    const token = this.#token;
    if (token.kind !== 'word' || token.escaped) return null;
    if (token.name === 'ether' || token.name === 'link') {
      this.#next++;
      return 'ether';
    }
    if (!isEtherType(token.name) && !isTransport(token.name)) return null;
    this.#next++;
    return token.name;
  }

  #direction(): Direction | null {
    for (const [first, second] of [
      ['src', 'dst'],
      ['dst', 'src'],
    ] as const) {
      const start = this.#next;
      if (!this.#take(first)) continue;
      const both = this.#take('and', '&&');
      if ((both || this.#take('or', '||')) && this.#take(second)) return both ? 'both' : 'either';
      this.#next = start + 1;
      return first;
    }
    return null;
  }

  #kind(): Kind | null {
    const token = this.#token;
    if (token.kind !== 'word' || token.escaped) return null;
    if (unsupported.has(token.name)) throw this.#error(`${token.name} is not supported here`);
    if (!kinds.has(token.name)) return null;
    this.#next++;
    return token.name as Kind;
  }

  #isProtocol(name: Exclude<ProtocolName, 'ether'>): Condition {
    if (isEtherType(name)) return this.#frame.type(name);
    return carriesOver(this.#frame, TRANSPORTS[name].over, TRANSPORTS[name].number);
  }

  /** One of what qualifiers are said of, or several in parentheses. */
  #identifiers(qualifiers: Qualifiers): Parsed {
    if (this.#take('not', '!')) return { condition: not(this.#identifiers(qualifiers).condition), qualifiers };
    if (this.#token.text !== '(') return this.#identifier(qualifiers);
    const { condition } = this.#parentheses(qualifiers);
    return { condition, qualifiers };
  }

  #identifier(qualifiers: Qualifiers): Parsed {
    const token = this.#token;
    if (token.kind === 'end' || token.kind === 'sign') throw this.#error(`here the ${qualifiers.kind} is missing`);
    this.#next++;
    return { condition: this.#about(qualifiers, token), qualifiers };
  }

  #about(qualifiers: Qualifiers, token: Token): Condition {
    switch (qualifiers.kind) {
      case 'host':
      case 'net':
        return this.#address(qualifiers, token);
      case 'port':
      case 'portrange':
        return this.#ports(qualifiers, token);
      case 'proto':
        return this.#carried(qualifiers, token);
    }
  }

  #address({ protocol, direction, kind }: Qualifiers, token: Token): Condition {
    if (token.kind === 'mac') {
      if (protocol !== 'ether' || kind !== 'host')
        throw this.#error('the address of a device belongs behind ether host, ether src or ether dst', token);
      return etherAddress(this.#frame, direction, token.bytes);
    }
    if (protocol === 'ether') throw this.#error(`${token.text} is no address of an Ethernet device`, token);
    if (protocol !== null && !isEtherType(protocol))
      throw this.#error(`${protocol} has no ${kind}s`, token, `write ${protocol} and ${kind} ${token.text}`);
    if (token.kind === 'ipv6') {
      if (protocol !== null && protocol !== 'ip6') throw this.#error(`${token.text} is no address of ${protocol}`, token);
      const masks = prefixMask(this.#prefix(128) ?? 128, 4);
      this.#checkMask(token, token.words, masks);
      return address(this.#frame, 'ip6', direction, token.words, masks);
    }
    if (protocol === 'ip6') throw this.#error(`${token.text} is no IPv6 address`, token);
    const [value, mask] = this.#ipv4(kind, token);
    this.#checkMask(token, [value], [mask]);
    if (protocol !== null) return address(this.#frame, protocol, direction, [value], [mask]);
    const types = ['ip', 'arp', 'rarp'] as const;
    return any(...(types.map((type) => address(this.#frame, type, direction, [value], [mask])) as [Condition, ...Condition[]]));
  }

  /** The number and mask of an IPv4 address, or of a network: its first bytes are enough. */
  #ipv4(kind: Kind, token: Token): readonly [value: number, mask: number] {
    if (token.kind !== 'ipv4' && token.kind !== 'number') {
      throw this.#error(`${token.text} is no address`, token, 'names are not looked up: give addresses');
    }
    let bits = token.kind === 'ipv4' ? token.bits : 32;
    let { value } = token;
    // `net 10` is 10.0.0.0/8, `host 10` is 0.0.0.10.
    if (token.kind === 'number' && kind === 'net') for (bits = 32; value !== 0 && value < 2 ** 24; bits -= 8) value *= 256;
    else value *= 2 ** (32 - bits);
    const prefix = this.#prefix(32);
    if (prefix !== null) return [value, prefixMask(prefix, 1)[0] as number];
    if (kind === 'net' && this.#take('mask')) {
      const mask = this.#token;
      if (mask.kind !== 'ipv4' || mask.bits !== 32) throw this.#error('here the mask is missing: four numbers with dots between');
      this.#next++;
      return [value, mask.value];
    }
    return [value, prefixMask(bits, 1)[0] as number];
  }

  /** `/24` behind an address. */
  #prefix(most: number): number | null {
    if (!this.#take('/')) return null;
    const bits = this.#number('the length of a prefix');
    if (bits > most) throw this.#error(`a prefix has at most ${most} bits`, this.#tokens[this.#next - 1]);
    return bits;
  }

  #checkMask(token: Token, value: readonly number[], masks: readonly number[]): void {
    if (value.some((word, i) => (word & ~(masks[i] ?? 0)) !== 0)) throw this.#error(`${token.text} has bits outside of its network`, token);
  }

  #ports({ protocol, direction, kind }: Qualifiers, token: Token): Condition {
    if (protocol !== null && protocol !== 'tcp' && protocol !== 'udp' && protocol !== 'sctp') {
      throw this.#error(`${protocol} has no ports`, token, 'tcp, udp and sctp have');
    }
    const [first, second] = token.kind === 'range' ? [token.first, token.last] : [token.text, token.text];
    const low = this.#port(kind, first, token);
    const high = this.#port(kind, second, token);
    const protocols = protocol !== null ? [protocol] : low.protocols;
    return ports(this.#frame, protocols, direction, Math.min(low.port, high.port), Math.max(low.port, high.port));
  }

  #port(kind: Kind, text: string, token: Token): { readonly port: number; readonly protocols: readonly ('tcp' | 'udp' | 'sctp')[] } {
    const everywhere = ['tcp', 'udp', 'sctp'] as const;
    if (/^\d/.test(text)) {
      const port = Number(text);
      if (!Number.isInteger(port) || port > 65535) throw this.#error(`${text} is no port`, token, 'ports go to 65535');
      return { port, protocols: everywhere };
    }
    const service = token.kind === 'word' || token.kind === 'range' ? serviceNamed(text) : null;
    if (service === null) throw this.#error(`there is no port called ${text}`, token, 'give its number');
    // A name that only one protocol has means that one; in a range it is a number like any other.
    return { port: service.port, protocols: service.protocols.length === 1 && kind === 'port' ? service.protocols : everywhere };
  }

  #carried({ protocol, direction }: Qualifiers, token: Token): Condition {
    if (direction !== 'either') throw this.#error('a protocol has no direction', token);
    if (protocol === 'ether') {
      const type =
        token.kind === 'number' ? token.value : token.kind === 'word' && isEtherType(token.name) ? ETHER_TYPES[token.name] : null;
      if (type === null || type > 0xffff) throw this.#error(`${token.text} is no EtherType`, token);
      if (type <= 1500) throw this.#error('frames of 802.3 without an EtherType are not supported here', token);
      return this.#frame.typeIs(type);
    }
    if (protocol !== null && protocol !== 'ip' && protocol !== 'ip6') throw this.#error(`${protocol} carries no other protocol`, token);
    const wanted = token.kind === 'number' ? token.value : token.kind === 'word' ? protocolNamed(token.name) : null;
    if (wanted === null || wanted > 255) throw this.#error(`${token.text} is no protocol over IP`, token, 'give its number');
    return carriesOver(this.#frame, protocol ?? 'both', wanted);
  }

  /** `ARITHMETIC RELATION ARITHMETIC`, null where there is none; nothing is taken then. */
  #relation(): Condition | null {
    const start = this.#next;
    if (!this.#beginsArithmetic()) return null;
    const left = this.#arithmetic(0);
    const relation = this.#token.kind === 'sign' && Object.hasOwn(relations, this.#token.text) ? relations[this.#token.text] : undefined;
    if (left === null || relation === undefined) {
      this.#next = start;
      return null;
    }
    this.#next++;
    const right = this.#arithmetic(0);
    if (right === null) throw this.#error('here a number or a field is missing');
    const question = compare(relation, left.value, right.value);
    const there = both(left.there, right.there);
    return there === null ? question : all(there, question);
  }

  #beginsArithmetic(): boolean {
    const token = this.#token;
    if (token.kind === 'number') return true;
    if (token.kind === 'sign') return token.text === '(' || token.text === '-';
    return (
      token.kind === 'word' &&
      !token.escaped &&
      (token.name === 'len' || CONSTANTS.has(token.name) || this.#tokens[this.#next + 1]?.text === '[')
    );
  }

  #arithmetic(level: number): Operand | null {
    const ops = levels[level];
    if (ops === undefined) return this.#operand();
    let left = this.#arithmetic(level + 1);
    while (left !== null && this.#token.kind === 'sign' && Object.hasOwn(ops, this.#token.text)) {
      const sign = this.#token;
      this.#next++;
      const right = this.#arithmetic(level + 1);
      if (right === null) return null;
      left = this.#combine(sign, ops[sign.text] as ArithmeticOp, left, right);
    }
    return left;
  }

  /** libpcap's grammar gives `^` and `%` no rank: the number before them is their left side, all that follows their right. */
  #operand(): Operand | null {
    const left = this.#number32();
    const sign = this.#token;
    if (left === null || sign.kind !== 'sign' || !Object.hasOwn(loose, sign.text)) return left;
    this.#next++;
    const right = this.#deeper(() => this.#arithmetic(0));
    return right === null ? null : this.#combine(sign, loose[sign.text] as ArithmeticOp, left, right);
  }

  #combine(sign: Token, op: ArithmeticOp, left: Operand, right: Operand): Operand {
    if (right.value.kind === 'number') {
      if ((op === 'DIV' || op === 'MOD') && right.value.value === 0) throw this.#error('it divides by zero', sign);
      if ((op === 'LSH' || op === 'RSH') && right.value.value > 31) throw this.#error('it shifts by more than 31 bits', sign);
    }
    return { value: binary(op, left.value, right.value), there: both(left.there, right.there) };
  }

  #number32(): Operand | null {
    const token = this.#token;
    if (token.kind === 'number') {
      this.#next++;
      return { value: number(token.value), there: null };
    }
    if (this.#take('(')) {
      const inner = this.#deeper(() => this.#arithmetic(0));
      return inner !== null && this.#take(')') ? inner : null;
    }
    if (this.#take('-')) {
      const of = this.#deeper(() => this.#number32());
      return of === null ? null : { value: binary('SUB', number(0), of.value), there: of.there };
    }
    if (token.kind !== 'word' || token.escaped) return null;
    if (this.#take('len')) return { value: metadata('len'), there: null };
    const constant = CONSTANTS.get(token.name);
    if (constant !== undefined) {
      this.#next++;
      return { value: number(constant), there: null };
    }
    return this.#tokens[this.#next + 1]?.text === '[' ? this.#field() : null;
  }

  /** `tcp[13]`, `ip[6:2]`: bytes of a header. */
  #field(): Operand {
    const token = this.#token;
    const name = this.#protocol();
    if (name === null || name === 'ah' || name === 'esp') throw this.#error(`the bytes of ${token.text} cannot be read`, token);
    this.#expect('[');
    const index = this.#deeper(() => this.#arithmetic(0));
    if (index === null) throw this.#error('here a number is missing');
    const size = this.#take(':') ? this.#number('1, 2 or 4 bytes') : 1;
    if (size !== 1 && size !== 2 && size !== 4) throw this.#error('fields have 1, 2 or 4 bytes', this.#tokens[this.#next - 1]);
    this.#expect(']');
    const { there, bytes } = header(this.#frame, name);
    return { value: bytes(index.value, size), there: both(index.there, there) };
  }

  #number(what: string): number {
    const token = this.#token;
    if (token.kind !== 'number' || token.value > most32) throw this.#error(`here ${what} is missing`);
    this.#next++;
    return token.value;
  }
}

function both(left: Condition | null, right: Condition | null): Condition | null {
  if (left === null || right === null) return left ?? right;
  return all(left, right);
}
