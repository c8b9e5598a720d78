import t from 'tap';
import { readMapDef } from '../../../src/bpf/object/map-def.ts';
import { internalMapName, newMap, ringbufSize } from '../../../src/bpf/object/map-spec.ts';
import { Btf, BtfBuilder, type BtfMember } from '../../../src/btf/index.ts';

/** Builds map definitions as the macros of bpf_helpers.h write them. */
class Definition {
  readonly #btf = new BtfBuilder();
  readonly #members: BtfMember[] = [];
  readonly #int: number;

  constructor() {
    this.#int = this.#btf.add({ kind: 'INT', name: 'int', size: 4, encoding: 1, bitOffset: 0, bits: 32 });
  }

  /** __uint(name, value) */
  uint(name: string, value: number): this {
    const array = this.#btf.add({ kind: 'ARRAY', name: '', typeId: this.#int, indexTypeId: this.#int, count: value });
    return this.pointer(name, array);
  }

  /** __type(name, a struct of `size` bytes) */
  type(name: string, size: number): this {
    return this.pointer(name, this.#btf.add({ kind: 'STRUCT', name: `${name}_t`, size, members: [] }));
  }

  /** __ulong(name, value) */
  ulong(name: string, value: bigint): this {
    const id = this.#btf.add({ kind: 'ENUM64', name: '', size: 8, signed: false, values: [{ name: `${name}_value`, value }] });
    return this.member(name, id);
  }

  /** __array(values, a function or another definition's struct) */
  values(of: 'functions' | 'maps', inner: (definition: Definition) => number = () => 0): this {
    const target = of === 'functions' ? this.#btf.add({ kind: 'FUNC_PROTO', name: '', returnTypeId: this.#int, params: [] }) : inner(this);
    const pointer = this.#btf.add({ kind: 'PTR', name: '', typeId: target, attribute: false });
    return this.member('values', this.#btf.add({ kind: 'ARRAY', name: '', typeId: pointer, indexTypeId: this.#int, count: 0 }));
  }

  /** __ulong(name, value) of clang 14, which has no ENUM64: 32 bits are left. */
  ulong32(name: string, value: bigint): this {
    const id = this.#btf.add({ kind: 'ENUM', name: '', size: 8, signed: false, values: [{ name: `${name}_value`, value }] });
    return this.member(name, id);
  }

  pointer(name: string, typeId: number): this {
    return this.member(name, this.#btf.add({ kind: 'PTR', name: '', typeId, attribute: false }));
  }

  member(name: string, typeId: number): this {
    this.#members.push({ name, typeId, bitOffset: this.#members.length * 64, bitSize: 0 });
    return this;
  }

  /** The struct of the members up to now, which are forgotten. */
  struct(): number {
    const members = this.#members.splice(0);
    return this.#btf.add({ kind: 'STRUCT', name: '', size: members.length * 8, members });
  }

  read(strict = true) {
    const id = this.struct();
    const btf = Btf.parse(this.#btf.encode());
    const def = btf.type(id);
    if (def.kind !== 'STRUCT') throw new Error('no struct');
    const place = { sectionName: '.maps', sectionIndex: 1, sectionOffset: 0 };
    const map = newMap('m', 'btf', place);
    readMapDef(map, btf, def, { newInner: () => newMap('m.inner', 'btf', place), depth: 0, strict });
    return map;
  }
}

t.test('every field', async (t) => {
  const map = new Definition()
    .uint('type', 1)
    .type('key', 12)
    .type('value', 100)
    .uint('max_entries', 0xffffffff)
    .uint('map_flags', 5)
    .uint('numa_node', 3)
    .ulong('map_extra', 0xffff_0000_0000_0001n)
    .uint('pinning', 1)
    .read();
  t.match(map, {
    type: 1,
    keySize: 12,
    valueSize: 100,
    maxEntries: 0xffffffff,
    flags: 5,
    numaNode: 3,
    mapExtra: 0xffff_0000_0000_0001n,
    pinning: 1,
  });
  t.ok(map.keyTypeId > 0 && map.valueTypeId > 0);
});

t.test('sizes said twice have to agree', async (t) => {
  t.equal(new Definition().uint('type', 1).uint('key_size', 12).type('key', 12).read().keySize, 12);
  t.throws(() => new Definition().uint('type', 1).uint('key_size', 8).type('key', 12).read(), {
    code: 'E_MAP_FIELD',
    message: /map m, field key.*12 is not the 8/,
  });
  t.throws(() => new Definition().uint('type', 1).type('value', 4).uint('value_size', 8).read(), { code: 'E_MAP_FIELD' });
});

t.test('contents: maps in maps and programs', async (t) => {
  const inner = new Definition();
  const innerId = inner.uint('type', 2).uint('max_entries', 9).struct();
  t.match(
    inner
      .uint('type', 12)
      .values('maps', () => innerId)
      .read(),
    { type: 12, valueSize: 4, inner: { name: 'm.inner', type: 2, maxEntries: 9 } },
  );
  t.match(new Definition().uint('type', 3).values('functions').read(), { type: 3, valueSize: 4, inner: null });
});

/** A map of maps of maps. */
function threeDeep(): Definition {
  const definition = new Definition();
  const lowest = definition.uint('type', 2).struct();
  const middle = definition
    .uint('type', 12)
    .values('maps', () => lowest)
    .struct();
  return definition.uint('type', 13).values('maps', () => middle);
}

t.test('maps three deep are shown, but not taken where libbpf judges', async (t) => {
  t.match(threeDeep().read(false), { inner: { inner: { type: 2 } } });
  t.throws(() => threeDeep().read(true), { code: 'E_MAP_FIELD', message: /maps in maps in maps/ });
});

t.test('what is malformed is named', async (t) => {
  const rows: [string, () => Definition, RegExp][] = [
    ['no type', () => new Definition().uint('max_entries', 1), /no type/],
    ['unknown field', () => new Definition().uint('type', 1).uint('max_entires', 1), /max_entires.*did you mean max_entries/],
    ['a field named like a prototype', () => new Definition().uint('type', 1).uint('__proto__', 1), /unknown field/],
    ['a number that is none', () => new Definition().uint('type', 1).type('max_entries', 4), /pointer to an array/],
    ['a number that is no pointer', () => new Definition().member('type', 1), /pointer to an array/],
    ['a type without a size', () => new Definition().uint('type', 1).pointer('key', 0), /no size/],
    ['a key that is no pointer', () => new Definition().uint('type', 1).member('key', 1), /a pointer is wanted/],
    ['pinning', () => new Definition().uint('type', 1).uint('pinning', 7), /7 is neither/],
    ['values of a hash', () => new Definition().uint('type', 1).values('functions'), /maps of maps and program arrays/],
    ['functions in a map of maps', () => new Definition().uint('type', 12).values('functions'), /map definition/],
    ['values before the end', () => new Definition().uint('type', 3).values('functions').uint('max_entries', 1), /last member/],
    [
      'an inner map that is pinned',
      () => {
        const definition = new Definition();
        const inner = definition.uint('type', 2).uint('pinning', 1).struct();
        return definition.uint('type', 12).values('maps', () => inner);
      },
      /inner map cannot be pinned/,
    ],
  ];
  for (const [name, make, why] of rows) t.throws(() => make().read(), { message: why }, name);
});

t.test('names of data maps', async (t) => {
  const rows: [string, string, string][] = [
    ['my_object_name', '.rodata', 'my_objec.rodata'],
    ['my_object_name', '.bss', 'my_objec.bss'],
    ['my_object_name', '.kconfig', 'my_obje.kconfig'],
    ['my_object_name', '.rodata.abracadabra', '.rodata.abracad'],
    ['a b/c', '.data', 'a_b_c.data'],
    ['', '.data', '.data'],
  ];
  for (const [object, section, name] of rows) t.equal(internalMapName(object, section), name);
});

t.test('ring buffer sizes', async (t) => {
  const rows: [number, number, number][] = [
    [0, 4096, 0],
    [1, 4096, 4096],
    [4096, 4096, 4096],
    [4097, 4096, 8192],
    [12288, 4096, 16384],
    [65536, 65536, 65536],
    [0xffffffff, 4096, 0xffffffff],
  ];
  for (const [size, page, rounded] of rows) t.equal(ringbufSize(size, page), rounded);
});

t.test('map_extra of clang 14: libbpf widens its 32 bits with their sign, a map that is to work has them as they are', async (t) => {
  const extra = (strict: boolean): bigint => new Definition().uint('type', 33).ulong32('map_extra', 0xffffe000n).read(strict).mapExtra;
  t.equal(extra(true), 0xffff_ffff_ffff_e000n);
  t.equal(extra(false), 0xffff_e000n);
});
