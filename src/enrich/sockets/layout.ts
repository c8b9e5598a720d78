import { Btf } from '../../btf/btf.ts';
import { BtfBuilder } from '../../btf/builder.ts';
import type { BtfMember } from '../../btf/types.ts';
import { UsageError } from '../../error.ts';
import type { ObjectSpec } from '../../bpf/object/spec.ts';
import { GADGET_NAMES } from '../../gadget/contract.ts';

/** The struct that gadgets read of each socket. */
export const socketValueName = 'gadget_socket_value';
/** Bytes before the optional fields: those of the contract, and what the programs count in an entry. */
export const fixedSize = 120;
/** Bytes of a path, unless said. */
export const defaultPathSize = 512;
const maxPathSize = 4096;

/** Bytes of the optional fields; 0 for a field that is not kept. */
export interface SocketFields {
  readonly cwd: number;
  readonly exepath: number;
}

/** Where the fields of a socket's entry lie, and a BTF that says so to CO-RE. */
export interface SocketLayout {
  readonly fields: SocketFields;
  /** Bytes of an entry. */
  readonly size: number;
  /** 0 where the field is not kept. */
  readonly cwdAt: number;
  readonly exepathAt: number;
  readonly btf: Btf;
}

/** Name, type, and offset in bytes of what every entry has. */
const fixedFields = [
  ['mntns', 'u64', 0],
  ['pid_tgid', 'u64', 8],
  ['uid_gid', 'u64', 16],
  ['task', 'name', 24],
  ['ptask', 'name', 40],
  ['sock', 'u64', 56],
  ['deletion_timestamp', 'u64', 64],
  ['ppid', 'u32', 72],
  ['ptid', 'u32', 76],
  ['ipv6only', 'char', 80],
  ['ambiguous', 'char', 81],
] as const;

/**
 * Lays an entry out with these optional fields, in this order behind the fixed ones.
 *
 * Throws UsageError `E_SOCKET_FIELDS` for a size that is no power of two up to 4096.
 */
export function socketLayout(fields: SocketFields): SocketLayout {
  for (const [name, size] of Object.entries(fields) as [string, number][]) {
    if (size === 0 || (size > 0 && size <= maxPathSize && Number.isInteger(Math.log2(size)))) continue;
    throw new UsageError({
      code: 'E_SOCKET_FIELDS',
      what: 'not the size of a path of a socket',
      where: { field: name, size },
      next: `give a power of two up to ${maxPathSize}, or 0 to leave it out`,
    });
  }
  const cwdAt = fields.cwd > 0 ? fixedSize : 0;
  const exepathAt = fields.exepath > 0 ? fixedSize + fields.cwd : 0;
  const size = (fixedSize + fields.cwd + fields.exepath + 7) & ~7;
  return { fields, size, cwdAt, exepathAt, btf: layoutBtf(size, fields, cwdAt, exepathAt) };
}

function layoutBtf(size: number, fields: SocketFields, cwdAt: number, exepathAt: number): Btf {
  const builder = new BtfBuilder();
  const int = (name: string, bytes: number, encoding = 0): number =>
    builder.add({ kind: 'INT', name, size: bytes, encoding, bitOffset: 0, bits: bytes * 8 });
  const char = int('char', 1, 1);
  const index = int('__ARRAY_SIZE_TYPE__', 4);
  const chars = (count: number): number => builder.add({ kind: 'ARRAY', name: '', typeId: char, indexTypeId: index, count });
  const types = { u64: int('unsigned long long', 8), u32: int('unsigned int', 4), char, name: chars(16) };
  const members: BtfMember[] = fixedFields.map(([name, type, offset]) => member(name, types[type], offset));
  members.push(member('optional_fields_start', chars(0), fixedSize));
  if (fields.cwd > 0) members.push(member('cwd', chars(fields.cwd), cwdAt));
  if (fields.exepath > 0) members.push(member('exepath', chars(fields.exepath), exepathAt));
  builder.add({ kind: 'STRUCT', name: socketValueName, size, members });
  return Btf.parse(builder.encode());
}

function member(name: string, typeId: number, offset: number): BtfMember {
  return { name, typeId, bitOffset: offset * 8, bitSize: 0 };
}

/** The layout that an object's questions about a socket's entry are answered with when it is run; null where it asks none. */
export function layoutWanted(spec: ObjectSpec): SocketLayout | null {
  return spec.maps.some(({ name }) => name === GADGET_NAMES.socketsMap) ? socketLayout(fieldsWanted(spec)) : null;
}

/** The optional fields that an object asks about, each with its usual size. */
export function fieldsWanted(spec: ObjectSpec): SocketFields {
  const { btf, btfExt } = spec;
  const wanted = { cwd: 0, exepath: 0 };
  if (btf === null || btfExt === null) return wanted;
  for (const section of btfExt.coreRelos) {
    for (const record of section.relos) {
      const type = btf.type(record.typeId);
      if (type.kind !== 'STRUCT' || type.name !== socketValueName) continue;
      const index = Number(record.access.split(':')[1]);
      const name = type.members[index]?.name;
      if (name === 'cwd' || name === 'exepath') wanted[name] = defaultPathSize;
    }
  }
  return wanted;
}
