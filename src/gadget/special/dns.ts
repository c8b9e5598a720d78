import type { BoolReader, NumberReader } from '../../btf/value/index.ts';
import { parseDns, type DnsMessage } from '../dns/message.ts';
import { dnsCodeText, dnsTypeText } from '../dns/names.ts';
import type { Field } from '../field.ts';
import { EventRecord } from '../record.ts';
import type { RestSlot } from '../slot.ts';
import type { SourceBuilder } from '../source-builder.ts';
import { ip4Text, ip6Text } from './ip.ts';
import type { SpecialType } from './registry.ts';

const addressText = { ip4: ip4Text, ip6: ip6Text };

/** What follows an event with a member `dns_off`: a packet, with a DNS message there. Its parts become fields. */
export const dnsType: SpecialType = {
  name: 'dns',
  applies: (field, builder) => field.slot?.shape === 'rest' && builder.find('dns_off') !== null,
  extend(builder, field) {
    const offset = builder.find('dns_off');
    const { slot } = field;
    if (offset === null || slot?.shape !== 'rest') return;
    const reader = new MessageReader(slot, offset);
    field.suggest('columns.hidden', 'true').suggest('json.skip', 'true');
    offset.suggest('columns.hidden', 'true').suggest('json.skip', 'true');
    addText(
      builder,
      'id',
      reader.text(({ id }) => id.toString(16).padStart(4, '0')),
    );
    addNumber(builder, 'qr_raw', 'uint8', reader, ({ isResponse }) => (isResponse ? 1 : 0));
    addText(
      builder,
      'qr',
      reader.text(({ isResponse }) => (isResponse ? 'R' : 'Q')),
    );
    addText(
      builder,
      'name',
      reader.text(({ name }) => name),
    );
    addNumber(builder, 'qtype_raw', 'uint16', reader, ({ qtype }) => qtype);
    addText(
      builder,
      'qtype',
      reader.text(({ qtype }) => dnsTypeText(qtype)),
    );
    addNumber(builder, 'rcode_raw', 'uint16', reader, ({ rcode }) => rcode);
    addText(
      builder,
      'rcode',
      reader.text(({ rcode, isResponse }) => (isResponse ? dnsCodeText(rcode) : '')),
    );
    addBool(builder, 'tc', reader, ({ truncated }) => truncated);
    addBool(builder, 'rd', reader, ({ recursionDesired }) => recursionDesired);
    addBool(builder, 'ra', reader, ({ recursionAvailable }) => recursionAvailable);
    addNumber(builder, 'num_answers', 'uint16', reader, ({ answers }) => answers);
    addText(
      builder,
      'addresses',
      reader.text(({ addresses }) => addresses.join(',')),
    );
    addBool(builder, 'malformed', reader, ({ malformed }) => malformed);
  },
};

const shown = new Set(['qr', 'name', 'qtype', 'rcode', 'addresses']);

/** The message of the event at hand, read once though many fields want a part of it. */
class MessageReader {
  readonly #slot: RestSlot;
  readonly #offset: Field;
  readonly #copy: Buffer = Buffer.alloc(65536);
  #length = -1;
  #message: DnsMessage | null = null;

  constructor(slot: RestSlot, offset: Field) {
    this.#slot = slot;
    this.#offset = offset;
  }

  of(record: EventRecord, at: number): DnsMessage | null {
    const room = Math.max(0, record.length - this.#slot.offset);
    const used = Math.min(room, this.#slot.used?.(record, at) ?? room);
    const from = this.#offset.number(record, at);
    const start = at + this.#slot.offset + from;
    const length = Math.min(used - from, this.#copy.length);
    if (length <= 0) return null;
    // The same place may hold another event by now: what was read is kept with its bytes.
    if (length === this.#length && record.bytes.compare(this.#copy, 0, length, start, start + length) === 0) return this.#message;
    record.bytes.copy(this.#copy, 0, start, start + length);
    this.#length = length;
    this.#message = parseDns(this.#copy, 0, length, addressText);
    return this.#message;
  }

  text(get: (message: DnsMessage) => string): (record: EventRecord, at: number) => string {
    return (record, at) => {
      const message = this.of(record, at);
      return message === null ? '' : get(message);
    };
  }
}

function addText(builder: SourceBuilder, leaf: string, text: (record: EventRecord, at: number) => string): void {
  hide(builder.add({ leaf, parent: null, slot: { shape: 'text', repeats: true, text }, tags: [`name:${leaf}`] }));
}

function addNumber(
  builder: SourceBuilder,
  leaf: string,
  kind: 'uint8' | 'uint16',
  reader: MessageReader,
  get: (message: DnsMessage) => number,
): void {
  const record = new ViewRecord();
  const number: NumberReader = {
    kind: 'number',
    read(view, at) {
      const message = reader.of(record.of(view, at), at);
      return message === null ? 0 : get(message);
    },
  };
  hide(builder.add({ leaf, parent: null, slot: { shape: 'bits', kind, reader: number }, tags: [`name:${leaf}`] }));
}

function addBool(builder: SourceBuilder, leaf: string, reader: MessageReader, get: (message: DnsMessage) => boolean): void {
  const record = new ViewRecord();
  const bool: BoolReader = {
    kind: 'bool',
    read(view, at) {
      const message = reader.of(record.of(view, at), at);
      return message !== null && get(message);
    },
  };
  hide(builder.add({ leaf, parent: null, slot: { shape: 'bits', kind: 'bool', reader: bool }, tags: [`name:${leaf}`] }));
}

/** An event by its memory alone; its length is then what the event itself says. */
class ViewRecord {
  readonly #record = new EventRecord(0);

  of(view: DataView, at: number): EventRecord {
    return this.#record.point(view, at, view.byteLength - at);
  }
}

function hide(field: Field | null): void {
  if (field !== null && !shown.has(field.leaf)) field.suggest('columns.hidden', 'true');
}
