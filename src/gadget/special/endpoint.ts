import type { EndpointName } from '../context.ts';
import type { Field } from '../field.ts';
import type { EventRecord } from '../record.ts';
import type { SourceBuilder } from '../source-builder.ts';
import { namesByNumber } from './errno.ts';
import { ip4Text, ip6Text } from './ip.ts';
import { IP_PROTOCOLS } from './protocols.gen.ts';
import type { SpecialType } from './registry.ts';

const protocols: ReadonlyMap<number, string> = namesByNumber(IP_PROTOCOLS);

/** `TCP`; `proto#N` for a number without a name. */
export function protocolText(protocol: number): string {
  return protocols.get(protocol) ?? `proto#${protocol}`;
}

/** `struct gadget_l3endpoint_t`: an address; its bytes become text. */
export const l3endpointType: SpecialType = {
  name: 'l3endpoint',
  applies: (field) => field.slot === null && field.tags.has('type:gadget_l3endpoint_t'),
  extend(builder, field) {
    const addr = addAddress(builder, field);
    if (addr === null) return;
    addNames(builder, field, addr);
    field.suggest('columns.hidden', 'true');
  },
};

/** `struct gadget_l4endpoint_t`: an address with port and protocol, in columns as `address:port`. */
export const l4endpointType: SpecialType = {
  name: 'l4endpoint',
  applies: (field) => field.slot === null && field.tags.has('type:gadget_l4endpoint_t'),
  extend(builder, field) {
    const addr = addAddress(builder, field);
    if (addr === null) return;
    addr.suggest('columns.hidden', 'true');
    const version = inside(builder, field, 'version');
    const port = inside(builder, field, 'port')?.suggest('columns.hidden', 'true') ?? null;
    const protocol = inside(builder, field, 'proto_raw') ?? renamedProtocol(builder, field);
    if (protocol !== null) {
      builder.addNumberText(protocol, 'proto', protocolText)?.suggest('columns.hidden', 'true');
    }
    const nameOf = addNames(builder, field, addr);
    if (nameOf !== null && port !== null && protocol !== null)
      addTargetPort(builder, field, (record, at) => {
        return (
          nameOf(addr.text(record, at))?.targetPorts?.get(`${port.number(record, at)}/${protocolText(protocol.number(record, at))}`) ?? ''
        );
      });
    const endpoint = builder.add(
      {
        leaf: 'endpoint',
        parent: field,
        tags: ['name:endpoint'],
        slot: {
          shape: 'text',
          repeats: false,
          text(record, at) {
            const address = addr.text(record, at);
            // Brackets keep the port apart from an address with colons (RFC 5952, section 6).
            const host = named(nameOf, address) ?? (version?.number(record, at) === 6 ? `[${address}]` : address);
            return port === null ? host : `${host}:${port.number(record, at)}`;
          },
        },
      },
      addr,
    );
    endpoint?.suggestTemplate('l4endpoint').suggest('json.skip', 'true').suggest('columns.alias', field.name);
    field.suggest('columns.hidden', 'true');
  },
};

/** Puts `addr` in the place of `addr_raw`; null where the struct does not look like an endpoint. */
function addAddress(builder: SourceBuilder, field: Field): Field | null {
  // Older objects call the bytes what the text is called now.
  const raw = inside(builder, field, 'addr_raw') ?? inside(builder, field, 'addr');
  const version = inside(builder, field, 'version');
  if (raw === null || version === null || raw.size < 16) return null;
  version.suggest('columns.hidden', 'true');
  const { offset } = raw;
  builder.remove(raw);
  const addr = builder.add(
    {
      leaf: 'addr',
      parent: field,
      tags: ['name:addr'],
      slot: {
        shape: 'text',
        repeats: true,
        text(record, at) {
          switch (version.number(record, at)) {
            case 4:
              return ip4Text(record.bytes, at + offset);
            case 6:
              return ip6Text(record.bytes, at + offset);
            default:
              return '';
          }
        },
      },
    },
    field,
  );
  addr?.suggest('columns.alias', field.name);
  return addr;
}

/** Adds `k8s` with kind, name, namespace, labels and podSelector, where the machine belongs to a cluster; how to ask whose an address is. */
function addNames(builder: SourceBuilder, field: Field, addr: Field): ((address: string) => EndpointName | null) | null {
  const { endpoints } = builder.context;
  if (endpoints === undefined) return null;
  const group = builder.add({ leaf: 'k8s', parent: field, slot: null, tags: ['name:k8s'] });
  if (group === null) return null;
  const nameOf = (address: string): EndpointName | null => (address === '' ? null : endpoints.endpoint(address));
  const add = (leaf: string, format: (name: EndpointName | null) => string): void => {
    const text = (record: EventRecord, at: number): string => format(nameOf(addr.text(record, at)));
    builder
      .add({ leaf, parent: group, tags: [`name:${leaf}`], slot: { shape: 'text', repeats: true, text } })
      ?.suggest('columns.hidden', 'true');
  };
  add('kind', (name) => name?.kind ?? 'raw');
  add('name', (name) => name?.name ?? '');
  add('namespace', (name) => name?.namespace ?? '');
  add('labels', (name) => name?.labels ?? '');
  add('podSelector', (name) => name?.selector ?? '');
  group.suggest('columns.hidden', 'true');
  return nameOf;
}

/** Adds `k8s.targetPort`: where a service hands packets on to, a number or a name. */
function addTargetPort(builder: SourceBuilder, field: Field, text: (record: EventRecord, at: number) => string): void {
  const group = inside(builder, field, 'k8s');
  if (group === null) return;
  builder
    .add({ leaf: 'targetPort', parent: group, tags: ['name:targetPort'], slot: { shape: 'text', repeats: false, text } })
    ?.suggest('columns.hidden', 'true')
    .suggest('json.skip', 'true');
}

/** What columns show in place of the address, by its first letter a pod, service or node; null without a cluster, or for nobody's. */
function named(nameOf: ((address: string) => EndpointName | null) | null, address: string): string | null {
  const name = nameOf?.(address) ?? null;
  if (name === null) return null;
  return `${name.kind.charAt(0)}/${name.namespace === '' ? '' : `${name.namespace}/`}${name.name}`;
}

/** Older objects call the protocol's number `proto`. */
function renamedProtocol(builder: SourceBuilder, field: Field): Field | null {
  const old = inside(builder, field, 'proto');
  if (old === null || !old.isInteger) return null;
  const { slot, offset, size, typeId } = old;
  const after = builder.fields[builder.fields.indexOf(old) - 1] ?? null;
  builder.remove(old);
  return builder.add({ leaf: 'proto_raw', parent: field, slot, tags: [...old.tags], offset, size, typeId }, after);
}

function inside(builder: SourceBuilder, field: Field, leaf: string): Field | null {
  return builder.find(`${field.name}.${leaf}`);
}
