// The ring buffer decision: whatever BTF says, every question about ring buffers is answered alike.
import t from 'tap';
import type { Btf } from '../../../src/btf/btf.ts';
import { CORE_KIND } from '../../../src/btf/core/kinds.ts';
import { CoreResolver } from '../../../src/btf/core/resolver.ts';
import type { BtfNewType } from '../../../src/btf/index.ts';
import { btfOf, INT, kernel, structOf } from './support.ts';

function enumOf(name: string, values: Readonly<Record<string, bigint>>): BtfNewType {
  return { kind: 'ENUM', name, size: 4, signed: false, values: Object.entries(values).map(([of, value]) => ({ name: of, value })) };
}

const functions = { BPF_FUNC_map_lookup_elem: 1n, BPF_FUNC_ringbuf_output: 130n, BPF_FUNC_ringbuf_reserve_dynptr: 198n };
const types = [
  INT,
  enumOf('bpf_func_id', functions),
  enumOf('bpf_map_type', { BPF_MAP_TYPE_HASH: 1n, BPF_MAP_TYPE_RINGBUF: 27n }),
  structOf('bpf_ringbuf', { mask: 0 }),
  structOf('bpf_map', { id: 0 }),
];
const local = btfOf([
  ...types,
  enumOf('bpf_func_id___flavour', functions),
  { kind: 'TYPEDEF', name: 'func_t', typeId: 2, attribute: false },
]);
const withRings = btfOf(types);
const without = btfOf([INT, enumOf('bpf_func_id', { BPF_FUNC_map_lookup_elem: 1n }), enumOf('bpf_map_type', { BPF_MAP_TYPE_HASH: 1n })]);
const noEnums = btfOf([INT]);

const { ENUMVAL_EXISTS, ENUMVAL_VALUE, TYPE_EXISTS, TYPE_SIZE, FIELD_EXISTS } = CORE_KIND;

interface Case {
  readonly what: string;
  readonly typeId: number;
  readonly access: string;
  readonly kind: number;
  readonly btf: Btf;
  readonly ringbuf: boolean;
  /** null: poisoned. */
  readonly value: bigint | null;
}

const cases: readonly Case[] = [
  { what: 'a helper, decided no', typeId: 2, access: '1', kind: ENUMVAL_EXISTS, btf: withRings, ringbuf: false, value: 0n },
  { what: 'its number, decided no', typeId: 2, access: '1', kind: ENUMVAL_VALUE, btf: withRings, ringbuf: false, value: null },
  { what: 'a helper of a flavour, decided no', typeId: 6, access: '1', kind: ENUMVAL_EXISTS, btf: withRings, ringbuf: false, value: 0n },
  { what: 'a helper by typedef, decided no', typeId: 7, access: '1', kind: ENUMVAL_EXISTS, btf: withRings, ringbuf: false, value: 0n },
  { what: 'a later helper, decided no', typeId: 2, access: '2', kind: ENUMVAL_EXISTS, btf: withRings, ringbuf: false, value: 0n },
  { what: 'another helper, decided no', typeId: 2, access: '0', kind: ENUMVAL_EXISTS, btf: withRings, ringbuf: false, value: 1n },
  { what: 'the map type, decided no', typeId: 3, access: '1', kind: ENUMVAL_EXISTS, btf: withRings, ringbuf: false, value: 0n },
  { what: 'another map type, decided no', typeId: 3, access: '0', kind: ENUMVAL_EXISTS, btf: withRings, ringbuf: false, value: 1n },
  { what: 'the struct, decided no', typeId: 4, access: '0', kind: TYPE_EXISTS, btf: withRings, ringbuf: false, value: 0n },
  { what: 'its size, decided no', typeId: 4, access: '0', kind: TYPE_SIZE, btf: withRings, ringbuf: false, value: 0n },
  { what: 'its field, decided no', typeId: 4, access: '0:0', kind: FIELD_EXISTS, btf: withRings, ringbuf: false, value: 0n },
  { what: 'another struct, decided no', typeId: 5, access: '0', kind: TYPE_EXISTS, btf: withRings, ringbuf: false, value: 1n },
  { what: 'a helper, decided yes', typeId: 2, access: '1', kind: ENUMVAL_EXISTS, btf: withRings, ringbuf: true, value: 1n },
  { what: 'a helper that BTF lacks, decided yes', typeId: 2, access: '1', kind: ENUMVAL_EXISTS, btf: without, ringbuf: true, value: 1n },
  { what: 'its number', typeId: 2, access: '1', kind: ENUMVAL_VALUE, btf: without, ringbuf: true, value: 130n },
  {
    what: 'a helper where BTF has no such enum, decided yes',
    typeId: 2,
    access: '1',
    kind: ENUMVAL_EXISTS,
    btf: noEnums,
    ringbuf: true,
    value: 1n,
  },
  { what: 'a later helper is BTF’s to tell', typeId: 2, access: '2', kind: ENUMVAL_EXISTS, btf: without, ringbuf: true, value: 0n },
  { what: 'the map type is BTF’s to tell', typeId: 3, access: '1', kind: ENUMVAL_EXISTS, btf: without, ringbuf: true, value: 0n },
  { what: 'the struct is BTF’s to tell', typeId: 4, access: '0', kind: TYPE_EXISTS, btf: without, ringbuf: true, value: 0n },
];

t.test('questions about ring buffers', async (t) => {
  for (const { what, typeId, access, kind, btf, ringbuf, value } of cases) {
    const found = new CoreResolver(local, kernel(btf, { ringbuf })).resolve({ insnOffset: 0, typeId, access, kind });
    t.equal(found.poison ? null : found.value, value, what);
    t.equal(found.reason === null, found.exists, `${what}: a reason where it is not there`);
  }
});
