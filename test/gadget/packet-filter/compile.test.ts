import t from 'tap';
import { UsageError } from '../../../src/error.ts';
import { compilePacketFilter } from '../../../src/gadget/packet-filter/compile.ts';
import { parseServices } from '../../../src/gadget/packet-filter/names.ts';

/** Expressions that cannot be understood: where, and a part of why. */
const bad: readonly (readonly [expression: string, position: number, why: RegExp])[] = [
  ['udpp port 80', 1, /udpp is no word of the language; did you mean udp/],
  ['10.0.0.1', 1, /does not say what 10\.0\.0\.1 is.*write host/s],
  ['tcp port', 9, /the port is missing/],
  ['tcp port 70000', 10, /70000 is no port/],
  ['tcp and', 8, /it ends where/],
  ['(tcp or udp', 12, /a \) is missing/],
  ['tcp) or udp', 4, /here the expression should end/],
  ['host example.com', 6, /names are not looked up/],
  ['host 300.1.1.1', 6, /no IPv4 address/],
  ['host 1::2::3', 6, /no IPv6 address/],
  ['net 10.0.0.1/8', 5, /bits outside/],
  ['net 10.0.0.0/33', 14, /at most 32 bits/],
  ['net ::1/64', 5, /bits outside/],
  ['tcp host 10.0.0.1', 10, /tcp has no hosts.*tcp and host/s],
  ['ip port 80', 9, /ip has no ports/],
  ['ip6 host 10.0.0.1', 10, /no IPv6 address/],
  ['ether host 10.0.0.1', 12, /no address of an Ethernet device/],
  ['host 02:00:00:00:00:01', 6, /ether host/],
  ['tcp[1:3] = 1', 7, /1, 2 or 4 bytes/],
  ['tcp[13 = 1', 8, /a \] is missing/],
  ['ah[0] = 1', 1, /cannot be read/],
  ['tcp[0] / 0 = 1', 8, /divides by zero/],
  ['tcp[0] << 32 = 1', 8, /more than 31 bits/],
  ['tcp[0] = ', 10, /a number or a field is missing/],
  ['ip broadcast', 4, /mask of the network is not known/],
  ['arp multicast', 5, /no multicast of arp/],
  ['vlan 5000', 6, /no VLAN has the ID 5000/],
  ['port nosuchport', 6, /no port called nosuchport/],
  ['proto nosuchprotocol', 7, /no protocol over IP/],
  ['ether proto 38', 13, /802\.3 without an EtherType/],
  ['src proto 6', 11, /no direction/],
  ['gateway 10.0.0.1', 1, /gateway is not supported/],
  ['ether', 6, /must be followed by/],
  ['tcp & udp', 5, /here the expression should end/],
  ['tcp # a comment', 5, /nothing begins with #/],
  ['len > 99999999999', 7, /does not fit into 32 bits/],
  ['host 10.0.0.1 10.0.0.2', 15, /here the expression should end/],
  ['(host 10.0.0.1) and 10.0.0.2', 21, /does not say what/],
];

void t.test('what cannot be understood is pointed to', (test) => {
  for (const [expression, position, why] of bad) {
    const caught = ((): unknown => {
      try {
        return compilePacketFilter(expression);
      } catch (error) {
        return error;
      }
    })();
    if (!(caught instanceof UsageError)) {
      test.fail(expression);
      continue;
    }
    test.equal(caught.code, 'E_PACKET_FILTER', expression);
    test.equal(caught.where['position'], position, expression);
    test.match(caught.message, why, expression);
    const lines = caught.message.split('\n');
    const marked = lines.findIndex((line) => /^\s*\^/.test(line));
    test.equal((lines[marked] ?? '').indexOf('^') - 2, position - 1, `${expression}: the mark`);
    test.equal(lines[marked - 1], `  ${expression}`);
  }
  test.end();
});

void t.test('what is nested or long beyond reason is refused, and nothing hangs', (test) => {
  const rows: readonly (readonly [string, string])[] = [
    ['parentheses', `${'('.repeat(5000)}tcp${')'.repeat(5000)}`],
    ['not', `${'not '.repeat(4000)}tcp`],
    ['arithmetic', `${'(1+'.repeat(200)}len${')'.repeat(200)} = 1`],
    ['fields in fields', `${'ip['.repeat(150)}0${']'.repeat(150)} = 1`],
    ['characters', 'tcp or '.repeat(3000)],
    ['instructions', Array.from({ length: 340 }, (_, i) => `portrange ${i + 1}-60000`).join(' or ')],
  ];
  for (const [what, expression] of rows) test.throws(() => compilePacketFilter(expression), { code: 'E_PACKET_FILTER' }, what);
  test.end();
});

void t.test('ports by name, as services(5) has them', (test) => {
  const services = parseServices('# a comment\ndomain 53/tcp\ndomain 53/udp nameserver\nhttp 80/tcp www # WorldWideWeb\nodd 7/ddp\nbad\n');
  test.same(services.get('domain'), { port: 53, protocols: ['tcp', 'udp'] });
  test.same(services.get('www'), { port: 80, protocols: ['tcp'] });
  test.same([...services.keys()], ['domain', 'nameserver', 'http', 'www']);
  test.end();
});
