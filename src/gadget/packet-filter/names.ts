import { readFileSync } from 'node:fs';
import { IP_PROTOCOLS } from '../special/protocols.gen.ts';

/** EtherTypes (linux/if_ether.h) by the names of the language. */
export const ETHER_TYPES = { ip: 0x0800, arp: 0x0806, rarp: 0x8035, ip6: 0x86dd } as const;

/** EtherTypes of frames with a VLAN tag: 802.1Q, 802.1ad, and what came before that. */
export const VLAN_TYPES = [0x8100, 0x88a8, 0x9100] as const;

/** What the language calls protocols over IP: their numbers, and over which version of IP a bare name finds them. */
export const TRANSPORTS = {
  tcp: { number: 6, over: 'both' },
  udp: { number: 17, over: 'both' },
  sctp: { number: 132, over: 'both' },
  icmp: { number: 1, over: 'ip' },
  igmp: { number: 2, over: 'ip' },
  igrp: { number: 9, over: 'ip' },
  pim: { number: 103, over: 'both' },
  vrrp: { number: 112, over: 'ip' },
  carp: { number: 112, over: 'ip' },
  ah: { number: 51, over: 'both' },
  esp: { number: 50, over: 'both' },
  icmp6: { number: 58, over: 'ip6' },
} as const;

export type EtherName = keyof typeof ETHER_TYPES;
export type TransportName = keyof typeof TRANSPORTS;
export type ProtocolName = 'ether' | EtherName | TransportName;

export const isTransport = (name: string): name is TransportName => Object.hasOwn(TRANSPORTS, name);
export const isEtherType = (name: string): name is EtherName => Object.hasOwn(ETHER_TYPES, name);

/** Names of numbers that stand in arithmetic: offsets and values of header fields (RFC 792, 4443, 9293 and successors). */
export const CONSTANTS: ReadonlyMap<string, number> = new Map(
  Object.entries({
    icmptype: 0,
    icmpcode: 1,
    'icmp-echoreply': 0,
    'icmp-unreach': 3,
    'icmp-sourcequench': 4,
    'icmp-redirect': 5,
    'icmp-echo': 8,
    'icmp-routeradvert': 9,
    'icmp-routersolicit': 10,
    'icmp-timxceed': 11,
    'icmp-paramprob': 12,
    'icmp-tstamp': 13,
    'icmp-tstampreply': 14,
    'icmp-ireq': 15,
    'icmp-ireqreply': 16,
    'icmp-maskreq': 17,
    'icmp-maskreply': 18,
    icmp6type: 0,
    icmp6code: 1,
    'icmp6-destinationunreach': 1,
    'icmp6-packettoobig': 2,
    'icmp6-timeexceeded': 3,
    'icmp6-parameterproblem': 4,
    'icmp6-echo': 128,
    'icmp6-echoreply': 129,
    'icmp6-multicastlistenerquery': 130,
    'icmp6-multicastlistenerreportv1': 131,
    'icmp6-multicastlistenerdone': 132,
    'icmp6-routersolicit': 133,
    'icmp6-routeradvert': 134,
    'icmp6-neighborsolicit': 135,
    'icmp6-neighboradvert': 136,
    'icmp6-redirect': 137,
    'icmp6-routerrenum': 138,
    'icmp6-nodeinformationquery': 139,
    'icmp6-nodeinformationresponse': 140,
    'icmp6-ineighbordiscoverysolicit': 141,
    'icmp6-ineighbordiscoveryadvert': 142,
    'icmp6-multicastlistenerreportv2': 143,
    'icmp6-homeagentdiscoveryrequest': 144,
    'icmp6-homeagentdiscoveryreply': 145,
    'icmp6-mobileprefixsolicit': 146,
    'icmp6-mobileprefixadvert': 147,
    'icmp6-certpathsolicit': 148,
    'icmp6-certpathadvert': 149,
    'icmp6-multicastrouteradvert': 151,
    'icmp6-multicastroutersolicit': 152,
    'icmp6-multicastroutertermadvert': 153,
    tcpflags: 13,
    'tcp-fin': 0x01,
    'tcp-syn': 0x02,
    'tcp-rst': 0x04,
    'tcp-push': 0x08,
    'tcp-ack': 0x10,
    'tcp-urg': 0x20,
    'tcp-ece': 0x40,
    'tcp-cwr': 0x80,
  }),
);

/** A named port, and the protocols that have it. */
export interface Service {
  readonly port: number;
  readonly protocols: readonly ('tcp' | 'udp' | 'sctp')[];
}

/** Where a machine has no /etc/services, as small containers have none. */
const wellKnown = `
ftp-data 20/tcp
ftp 21/tcp
ssh 22/tcp
telnet 23/tcp
smtp 25/tcp
domain 53/tcp
domain 53/udp
bootps 67/udp
bootpc 68/udp
tftp 69/udp
http 80/tcp
kerberos 88/tcp
kerberos 88/udp
pop3 110/tcp
ntp 123/udp
imap2 143/tcp
snmp 161/tcp
snmp 161/udp
bgp 179/tcp
ldap 389/tcp
ldap 389/udp
https 443/tcp
https 443/udp
imaps 993/tcp
pop3s 995/tcp
`;

let services: ReadonlyMap<string, Service> | null = null;

/** The port with this name in /etc/services (aliases too), null where there is none. */
export function serviceNamed(name: string): Service | null {
  services ??= readServices();
  return services.get(name) ?? null;
}

function readServices(): ReadonlyMap<string, Service> {
  try {
    return parseServices(readFileSync('/etc/services', 'utf8'));
  } catch {
    return parseServices(wellKnown);
  }
}

/** Reads a file in the format of services(5); of names with several numbers the first counts. */
export function parseServices(text: string): ReadonlyMap<string, Service> {
  const found = new Map<string, Service>();
  for (const line of text.split('\n')) {
    const [name = '', place = '', ...aliases] = (line.split('#')[0] ?? '').trim().split(/\s+/);
    const [, digits, protocol] = /^(\d{1,5})\/(tcp|udp|sctp)$/.exec(place) ?? [];
    if (digits === undefined) continue;
    const port = Number(digits);
    for (const each of [name, ...aliases]) {
      const known = found.get(each);
      if (known === undefined) found.set(each, { port, protocols: [protocol as 'tcp'] });
      else if (known.port === port) found.set(each, { port, protocols: [...known.protocols, protocol as 'tcp'] });
    }
  }
  return found;
}

/** The number of a protocol over IP by its name, null where none has it. */
export function protocolNamed(name: string): number | null {
  if (isTransport(name)) return TRANSPORTS[name].number;
  const key = name.toUpperCase();
  return Object.hasOwn(IP_PROTOCOLS, key) ? IP_PROTOCOLS[key as keyof typeof IP_PROTOCOLS] : null;
}
