import type { Btf } from '../../btf/btf.ts';
import { knownSizeOf, skipModifiersAndTypedefs } from '../../btf/resolve.ts';
import type { BtfComposite, BtfMember } from '../../btf/types.ts';
import { didYouMean } from '../../bytes/suggest.ts';
import { FormatError, type RawbpfError, UnsupportedError } from '../../error.ts';
import { BPF_MAP_TYPE } from '../uapi/index.ts';
import type { MapDraft } from './map-spec.ts';

/** How a map definition is read. */
export interface MapDefOptions {
  /** Makes the spec of the inner map of a map-in-map. */
  readonly newInner: () => MapDraft;
  /** How many maps this one is inside of. */
  readonly depth: number;
  readonly strict: boolean;
}

/** Everything a definition may say. */
const fieldNames = [
  'type',
  'key',
  'key_size',
  'value',
  'value_size',
  'values',
  'max_entries',
  'map_flags',
  'map_extra',
  'numa_node',
  'pinning',
];
/** LIBBPF_PIN_BY_NAME, the highest pinning value. */
const pinByName = 1;
/** The kernel takes one level of maps in maps; nothing deeper is ever written. */
const maxInnerDepth = 8;

/**
 * Reads a BTF-defined map: the members of the struct that its variable has. Numbers are the lengths of arrays pointed to
 * (`__uint`), types are pointed to (`__type`), and `values` is a flexible array of pointers to inner maps or programs.
 * Source: libbpf's bpf_helpers.h and its documentation of BTF-defined maps.
 */
export function readMapDef(map: MapDraft, btf: Btf, def: BtfComposite, options: MapDefOptions): void {
  const isInner = options.depth > 0;
  def.members.forEach((member, index) => {
    switch (member.name) {
      case 'type':
        map.type = intField(map, btf, member);
        break;
      case 'max_entries':
        map.maxEntries = intField(map, btf, member);
        break;
      case 'map_flags':
        map.flags = intField(map, btf, member);
        break;
      case 'numa_node':
        map.numaNode = intField(map, btf, member);
        break;
      case 'key_size':
        map.keySize = agreed(map, member, map.keySize, intField(map, btf, member));
        break;
      case 'value_size':
        map.valueSize = agreed(map, member, map.valueSize, intField(map, btf, member));
        break;
      case 'key': {
        const type = typeField(map, btf, member);
        map.keySize = agreed(map, member, map.keySize, type.size);
        map.keyTypeId = type.id;
        break;
      }
      case 'value': {
        const type = typeField(map, btf, member);
        map.valueSize = agreed(map, member, map.valueSize, type.size);
        map.valueTypeId = type.id;
        break;
      }
      case 'values':
        if (index !== def.members.length - 1) throw fieldError(map, member, 'it has to be the last member');
        readValues(map, btf, member, options);
        break;
      case 'pinning': {
        if (isInner) throw fieldError(map, member, 'an inner map cannot be pinned');
        const pinning = intField(map, btf, member);
        if (pinning > pinByName) throw fieldError(map, member, `${pinning} is neither LIBBPF_PIN_NONE nor LIBBPF_PIN_BY_NAME`);
        map.pinning = pinning;
        break;
      }
      case 'map_extra':
        map.mapExtra = longField(map, btf, member, options.strict);
        break;
      default:
        throw new UnsupportedError({
          code: 'E_MAP_FIELD',
          what: 'a map definition has an unknown field',
          where: { map: map.name, field: member.name },
          next: didYouMean(member.name, fieldNames) || `a map has ${fieldNames.join(', ')}`,
        });
    }
  });
  if (map.type === BPF_MAP_TYPE.BPF_MAP_TYPE_UNSPEC) {
    throw new FormatError({
      code: 'E_MAP_TYPE',
      what: 'a map definition has no type',
      where: { map: map.name },
      next: 'add __uint(type, BPF_MAP_TYPE_...)',
    });
  }
}

export function isMapInMap(type: number): boolean {
  return type === BPF_MAP_TYPE.BPF_MAP_TYPE_ARRAY_OF_MAPS || type === BPF_MAP_TYPE.BPF_MAP_TYPE_HASH_OF_MAPS;
}

function readValues(map: MapDraft, btf: Btf, member: BtfMember, options: MapDefOptions): void {
  const mapInMap = isMapInMap(map.type);
  // libbpf takes one level, and so does the kernel; deeper ones are shown, and refused by the kernel.
  if (options.depth > 0 && (options.strict || options.depth >= maxInnerDepth)) {
    throw unsupported(map, member, 'maps in maps in maps are not supported');
  }
  if (!mapInMap && map.type !== BPF_MAP_TYPE.BPF_MAP_TYPE_PROG_ARRAY) {
    throw unsupported(map, member, 'only maps of maps and program arrays can be given values');
  }
  map.valueSize = agreed(map, member, map.valueSize, 4);
  const array = btf.type(member.typeId);
  if (array.kind !== 'ARRAY' || array.count !== 0) throw fieldError(map, member, 'it is not an array without a length');
  const pointer = btf.type(skipModifiersAndTypedefs(btf, array.typeId));
  if (pointer.kind !== 'PTR') throw fieldError(map, member, `its elements are not pointers but ${pointer.kind}`);
  const target = btf.type(skipModifiersAndTypedefs(btf, pointer.typeId));
  if (!mapInMap) {
    if (target.kind !== 'FUNC_PROTO') throw fieldError(map, member, `its elements do not point to functions but to ${target.kind}`);
    return;
  }
  if (target.kind !== 'STRUCT') throw fieldError(map, member, `its elements do not point to a map definition but to ${target.kind}`);
  const inner = options.newInner();
  readMapDef(inner, btf, target, { ...options, depth: options.depth + 1 });
  map.inner = inner;
}

/** `__uint(name, value)`: a pointer to an array of `value` elements. */
function intField(map: MapDraft, btf: Btf, member: BtfMember): number {
  const pointer = btf.type(skipModifiersAndTypedefs(btf, member.typeId));
  if (pointer.kind !== 'PTR') throw fieldError(map, member, `a pointer to an array is wanted, it is ${pointer.kind}`);
  const array = btf.type(pointer.typeId);
  if (array.kind !== 'ARRAY') throw fieldError(map, member, `a pointer to an array is wanted, it points to ${array.kind}`);
  return array.count;
}

/** `__ulong(name, value)`: an enum of one 64-bit value; or as {@link intField}. */
function longField(map: MapDraft, btf: Btf, member: BtfMember, strict: boolean): bigint {
  const type = btf.type(skipModifiersAndTypedefs(btf, member.typeId));
  if (type.kind !== 'ENUM' && type.kind !== 'ENUM64') return BigInt(intField(map, btf, member));
  const [only] = type.values;
  if (only === undefined || type.values.length !== 1)
    throw fieldError(map, member, `an enum of one value is wanted, it has ${type.values.length}`);
  // Of 32 bits, as clang writes before 15: libbpf widens them with their sign, which no arena survives.
  return BigInt.asUintN(64, strict && type.kind === 'ENUM' ? BigInt.asIntN(32, only.value) : only.value);
}

/** `__type(name, type)`: a pointer to the type. */
function typeField(map: MapDraft, btf: Btf, member: BtfMember): { id: number; size: number } {
  const pointer = btf.type(member.typeId);
  if (pointer.kind !== 'PTR') throw fieldError(map, member, `a pointer is wanted, it is ${pointer.kind}`);
  const size = knownSizeOf(btf, pointer.typeId);
  if (size === null) throw fieldError(map, member, `its type ${pointer.typeId} has no size`);
  return { id: pointer.typeId, size };
}

function agreed(map: MapDraft, member: BtfMember, before: number, size: number): number {
  if (before !== 0 && before !== size) throw fieldError(map, member, `its size ${size} is not the ${before} said before`);
  return size;
}

function fieldError(map: MapDraft, member: BtfMember, why: string): RawbpfError {
  return new FormatError({ code: 'E_MAP_FIELD', what: 'malformed map definition', where: { map: map.name, field: member.name }, why });
}

function unsupported(map: MapDraft, member: BtfMember, why: string): RawbpfError {
  return new UnsupportedError({
    code: 'E_MAP_FIELD',
    what: 'unsupported map definition',
    where: { map: map.name, field: member.name },
    why,
  });
}
