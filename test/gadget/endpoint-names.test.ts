import t from 'tap';
import { Btf } from '../../src/btf/btf.ts';
import { BtfBuilder } from '../../src/btf/builder.ts';
import type { EndpointName } from '../../src/gadget/context.ts';
import { buildDataSource, type DataSource } from '../../src/gadget/data-source.ts';
import { ByteWriter } from '../../src/output/byte-writer.ts';
import { JsonWriter } from '../../src/output/json.ts';
import { fixedContext } from './fixture.ts';

const names: ReadonlyMap<string, EndpointName> = new Map([
  ['10.0.0.1', { kind: 'pod', name: 'web-0', namespace: 'shop', labels: 'app=web,tier=front', selector: '' }],
  ['10.96.0.1', { kind: 'svc', name: 'front', namespace: 'shop', labels: '', selector: 'app=web' }],
  ['fd00::1', { kind: 'node', name: 'node-1', namespace: '', labels: 'zone=a', selector: '' }],
]);

/** An event of one `struct gadget_l4endpoint_t src` and one `struct gadget_l3endpoint_t dst`. */
function source(named: boolean): DataSource {
  const builder = new BtfBuilder();
  const u8 = builder.add({ kind: 'INT', name: 'unsigned char', size: 1, encoding: 0, bitOffset: 0, bits: 8 });
  const u16 = builder.add({ kind: 'INT', name: 'unsigned short', size: 2, encoding: 0, bitOffset: 0, bits: 16 });
  const bytes16 = builder.add({ kind: 'ARRAY', name: '', typeId: u8, indexTypeId: u16, count: 16 });
  const at = (name: string, typeId: number, byte: number): { name: string; typeId: number; bitOffset: number; bitSize: number } => ({
    name,
    typeId,
    bitOffset: byte * 8,
    bitSize: 0,
  });
  const raw = builder.add({ kind: 'UNION', name: '', size: 16, members: [at('v6', bytes16, 0)] });
  const l4 = builder.add({
    kind: 'STRUCT',
    name: 'gadget_l4endpoint_t',
    size: 22,
    members: [at('addr_raw', raw, 0), at('port', u16, 16), at('proto_raw', u16, 18), at('version', u8, 20)],
  });
  const l3 = builder.add({
    kind: 'STRUCT',
    name: 'gadget_l3endpoint_t',
    size: 18,
    members: [at('addr_raw', raw, 0), at('version', u8, 16)],
  });
  const typeId = builder.add({ kind: 'STRUCT', name: 'event', size: 40, members: [at('src', l4, 0), at('dst', l3, 22)] });
  const context = named ? { ...fixedContext, endpoints: { endpoint: (address: string) => names.get(address) ?? null } } : fixedContext;
  return buildDataSource({ name: 'x', kind: 'tracer', btf: Btf.parse(builder.encode()), typeId, context });
}

function bytes(src: readonly number[], dst: readonly number[]): Uint8Array {
  const event = new Uint8Array(40);
  event.set(src);
  event.set([80, 0, 6, 0, src.length === 4 ? 4 : 6], 16);
  event.set(dst, 22);
  event.set([dst.length === 4 ? 4 : 6], 22 + 16);
  return event;
}

const fd00 = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

t.test('with a cluster, endpoints say whose their address is', async (t) => {
  const made = source(true);
  const json = (event: Uint8Array): Record<string, unknown> => {
    const out = new ByteWriter();
    new JsonWriter(made).write(out, made.makeRecord().point(new DataView(event.buffer), 0, 40));
    return JSON.parse(out.take().toString());
  };
  t.same(json(bytes([10, 0, 0, 1], fd00)), {
    src: {
      addr: '10.0.0.1',
      k8s: { kind: 'pod', labels: 'app=web,tier=front', name: 'web-0', namespace: 'shop', podSelector: '' },
      port: 80,
      proto: 'TCP',
      proto_raw: 6,
      version: 4,
    },
    dst: { addr: 'fd00::1', k8s: { kind: 'node', labels: 'zone=a', name: 'node-1', namespace: '', podSelector: '' }, version: 6 },
  });
  t.match(json(bytes([10, 96, 0, 1], [10, 0, 0, 9])), {
    src: { k8s: { kind: 'svc', name: 'front', podSelector: 'app=web' } },
    dst: { k8s: { kind: 'raw', name: '', namespace: '', labels: '' } },
  });
});

t.test('columns show the name in place of the address', async (t) => {
  const text = (made: DataSource, event: Uint8Array): string | undefined =>
    made.fields.find((field) => field.name === 'src.endpoint')?.text(made.makeRecord().point(new DataView(event.buffer), 0, 40), 0);
  t.equal(text(source(true), bytes([10, 0, 0, 1], fd00)), 'p/shop/web-0:80');
  t.equal(text(source(true), bytes([10, 96, 0, 1], fd00)), 's/shop/front:80');
  t.equal(text(source(true), bytes(fd00, fd00)), 'n/node-1:80');
  t.equal(text(source(true), bytes([10, 9, 9, 9], fd00)), '10.9.9.9:80');
  t.equal(text(source(false), bytes([10, 0, 0, 1], fd00)), '10.0.0.1:80');
});

t.test('without a cluster there are no such fields', async (t) => {
  t.notOk(source(false).fields.some((field) => field.name.includes('k8s')));
});
