import { readFileSync } from 'node:fs';
import { openObject, type ObjectSpec } from '../../src/bpf/object/index.ts';
import type { EventContext } from '../../src/gadget/context.ts';
import { buildDataSource, type DataSource } from '../../src/gadget/data-source.ts';
import { discoverGadget, type GadgetContract } from '../../src/gadget/contract.ts';
import { splitNanoseconds } from '../../src/gadget/special/epoch.ts';
import type { EventRecord } from '../../src/gadget/record.ts';
import type { SourceAnnotations } from '../../src/gadget/source-builder.ts';

const folder = new URL('../../../fixtures/gadget/', import.meta.url);

/** The object of fixtures/gadget, opened anew: tests change it. */
export function openFixture(): { readonly spec: ObjectSpec; readonly contract: GadgetContract } {
  const spec = openObject(readFileSync(new URL('events.bpf.o', folder)), { name: 'events' });
  return { spec, contract: discoverGadget(spec) };
}

/** What the C library and the host's compiler say of the same values; big integers keep their digits as text. */
export function expectedValues(): Record<'event' | 'shapes', Record<string, unknown>> {
  const text = readFileSync(new URL('expected.json', folder), 'utf8').replace(/(?<=[:[,])(-?\d{16,})(?=[,\]}])/g, '"$1"');
  return JSON.parse(text) as Record<'event' | 'shapes', Record<string, unknown>>;
}

/** A machine that never changes: the clocks of boot and epoch differ by 1,700,000,000 s. */
export const fixedContext: EventContext = {
  arch: 'x64',
  clock: {
    toEpoch(high, low, into) {
      splitNanoseconds(high, low, into);
      into.seconds += 1_700_000_000;
    },
  },
  ids: { user: (uid) => (uid === 0 ? 'root' : `uid:${uid}`), group: (gid) => `gid:${gid}` },
  kernelEnum: () => null,
};

export function annotationsOf(
  fields: Readonly<Record<string, Readonly<Record<string, string>>>>,
  source: Readonly<Record<string, string>> = {},
): SourceAnnotations {
  return {
    annotations: new Map(Object.entries(source)),
    fields: new Map(Object.entries(fields).map(([name, annotations]) => [name, new Map(Object.entries(annotations))])),
  };
}

export interface SourceFixture {
  readonly source: DataSource;
  readonly record: EventRecord;
  readonly notices: readonly string[];
  /** The event's bytes, which may be changed. */
  readonly bytes: Uint8Array;
}

/** A data source of the fixture and the event that clang laid out for it. */
export function sourceFixture(
  struct: 'event' | 'shapes',
  annotations: SourceAnnotations | null = null,
  context: EventContext = fixedContext,
): SourceFixture {
  const { spec, contract } = openFixture();
  const tracer = contract.tracers.find((candidate) => candidate.struct === struct);
  const variable = spec.variables.find((candidate) => candidate.name === `${struct}_value`);
  const data = spec.maps.find((map) => map.name === variable?.map)?.data;
  if (tracer === undefined || variable === undefined || !data) throw new Error(`the fixture has no ${struct}`);
  const notices: string[] = [];
  const source = buildDataSource({
    name: tracer.name,
    kind: 'tracer',
    btf: contract.btf,
    typeId: tracer.typeId,
    context,
    annotations,
    notice: (message) => notices.push(message),
  });
  // Not at offset 0, as in a ring buffer.
  const bytes = new Uint8Array(24 + variable.size + 16);
  bytes.set(data.subarray(variable.offset, variable.offset + variable.size), 24);
  const record = source.makeRecord().point(new DataView(bytes.buffer), 24, variable.size);
  return { source, record, notices, bytes: bytes.subarray(24, 24 + variable.size) };
}
