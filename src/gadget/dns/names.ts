/** Types of questions, by IANA's numbers (DNS parameters, resource record types). */
const types: ReadonlyMap<number, string> = new Map([
  [1, 'A'],
  [2, 'NS'],
  [5, 'CNAME'],
  [6, 'SOA'],
  [11, 'WKS'],
  [12, 'PTR'],
  [13, 'HINFO'],
  [14, 'MINFO'],
  [15, 'MX'],
  [16, 'TXT'],
  [28, 'AAAA'],
  [33, 'SRV'],
  [35, 'NAPTR'],
  [39, 'DNAME'],
  [41, 'OPT'],
  [43, 'DS'],
  [46, 'RRSIG'],
  [48, 'DNSKEY'],
  [64, 'SVCB'],
  [65, 'HTTPS'],
  [251, 'IXFR'],
  [252, 'AXFR'],
  [255, 'ALL'],
  [257, 'CAA'],
]);

const codes = ['Success', 'FormatError', 'ServerFailure', 'NameError', 'NotImplemented', 'Refused'] as const;

/** `AAAA`; `TYPE1234` for one without a name (RFC 3597, section 5). */
export function dnsTypeText(type: number): string {
  return types.get(type) ?? `TYPE${type}`;
}

/** `NameError`; `RCODE11` for one without a name. */
export function dnsCodeText(code: number): string {
  return codes[code] ?? `RCODE${code}`;
}
