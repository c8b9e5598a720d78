import type { Btf } from '../../btf/btf.ts';
import { knownSizeOf } from '../../btf/resolve.ts';
import { Cursor } from '../../bytes/cursor.ts';
import { STB, STT } from '../../elf/constants.ts';
import type { ElfFile, ElfSection, ElfSymbol } from '../../elf/types.ts';
import { FormatError, type RawbpfError, UnsupportedError } from '../../error.ts';
import { isMapInMap } from './map-def.ts';
import { type MapDraft, newMap } from './map-spec.ts';

/** struct bpf_map_def: type, key_size, value_size, max_entries, map_flags. */
const defSize = 20;
/** struct bpf_elf_map of iproute2 goes on with id, pinning, inner_id and inner_idx. */
const iproute2Size = 36;

interface LegacyMap {
  readonly map: MapDraft;
  readonly id: number;
  readonly innerId: number;
}

/**
 * Maps declared as struct bpf_map_def (or iproute2's longer struct bpf_elf_map) in a section `maps` or `maps/NAME`: one
 * record for each symbol. What follows the known fields has to be zero.
 */
export function readLegacyMaps(elf: ElfFile, section: ElfSection, btf: Btf | null): MapDraft[] {
  const symbols = elf.symbols
    .filter(
      (symbol) => symbol.sectionIndex === section.index && (symbol.type === STT.OBJECT || symbol.type === STT.NOTYPE) && symbol.name !== '',
    )
    .toSorted((a, b) => (a.value < b.value ? -1 : 1));
  const maps = symbols.map((symbol, index) =>
    readRecord(elf, section, symbol, symbols[index + 1]?.value ?? BigInt(section.data.length), btf),
  );
  for (const { map, innerId } of maps) {
    if (!isMapInMap(map.type) || innerId === 0) continue;
    map.inner = maps.find((other) => other.id === innerId && !isMapInMap(other.map.type))?.map ?? null;
  }
  return maps.map(({ map }) => map);
}

function readRecord(elf: ElfFile, section: ElfSection, symbol: ElfSymbol, next: bigint, btf: Btf | null): LegacyMap {
  const { name } = symbol;
  if (symbol.binding === STB.LOCAL) {
    throw new UnsupportedError({
      code: 'E_MAP_LINKAGE',
      what: 'a map is static',
      where: { section: section.name, map: name },
      next: 'remove static',
    });
  }
  const end = symbol.size === 0n ? next : symbol.value + symbol.size;
  if (end > BigInt(section.data.length) || end - symbol.value < BigInt(defSize)) {
    throw legacyError(section, name, `bytes ${symbol.value} to ${end} of a section of ${section.data.length}`);
  }
  const at = Number(symbol.value);
  const recordSize = Number(end) - at;
  const cursor = new Cursor(section.data.subarray(at, at + recordSize), {
    littleEndian: elf.header.littleEndian,
    structure: 'struct bpf_map_def',
    code: 'E_MAP_DEF',
    base: section.offset + at,
  });
  const map = newMap(name, 'legacy', { sectionName: section.name, sectionIndex: section.index, sectionOffset: at });
  map.type = cursor.u32();
  map.keySize = cursor.u32();
  map.valueSize = cursor.u32();
  map.maxEntries = cursor.u32();
  map.flags = cursor.u32();
  const iproute2 = recordSize >= iproute2Size;
  const id = iproute2 ? cursor.u32() : 0;
  // iproute2's pinning is a folder of its own (PIN_GLOBAL_NS): the map is made, and the user may pin it.
  if (iproute2) cursor.u32();
  const innerId = iproute2 ? cursor.u32() : 0;
  if (iproute2) cursor.u32();
  if (cursor.take(cursor.remaining).some((byte) => byte !== 0)) {
    throw legacyError(section, name, `the ${recordSize - (iproute2 ? iproute2Size : defSize)} bytes after the known fields are not zero`);
  }
  if (btf !== null) annotate(map, btf);
  return { map, id, innerId };
}

/** BPF_ANNOTATE_KV_PAIR(name, key, value) gave legacy maps types: struct ____btf_map_NAME { key; value; }. */
function annotate(map: MapDraft, btf: Btf): void {
  const id = btf.findByName(`____btf_map_${map.name}`, 'STRUCT');
  const pair = id === null ? null : btf.type(id);
  if (pair?.kind !== 'STRUCT') return;
  const [key, value] = pair.members;
  if (key === undefined || value === undefined || pair.members.length !== 2) return;
  if (knownSizeOf(btf, key.typeId) === map.keySize) map.keyTypeId = key.typeId;
  if (knownSizeOf(btf, value.typeId) === map.valueSize) map.valueTypeId = value.typeId;
}

function legacyError(section: ElfSection, map: string, why: string): RawbpfError {
  return new FormatError({ code: 'E_MAP_DEF', what: 'malformed map definition', where: { section: section.name, map }, why });
}
