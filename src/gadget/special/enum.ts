import type { BtfEnum } from '../../btf/types.ts';
import { resolveType, typeNamesOf } from '../../btf/value/resolve.ts';
import { targetName } from '../source-builder.ts';
import type { SpecialType } from './registry.ts';

/**
 * Enums: the name of the value, or of the bits where the enum's name ends in `_set`. The running kernel's enum of the same
 * name counts before the object's.
 */
export const enumType: SpecialType = {
  name: 'enum',
  applies(field, builder) {
    if (field.typeId === 0 || !field.isInteger) return false;
    const { kind } = resolveType(builder.btf, field.typeId);
    return kind === 'ENUM' || kind === 'ENUM64';
  },
  extend(builder, field) {
    const leaf = targetName(field, 'ebpf.formatter.enum');
    if (leaf === null) return;
    const own = resolveType(builder.btf, field.typeId) as BtfEnum;
    const name = own.name === '' ? (typeNamesOf(builder.btf, field.typeId)[0] ?? '') : own.name;
    const type = (own.name === '' ? null : builder.context.kernelEnum(own.name)) ?? own;
    const separator = field.annotation('ebpf.formatter.bitfield.separator');
    const text = name.endsWith('_set') ? bitNames(type, separator === null || separator === '' ? '|' : separator) : valueNames(type);
    // Numbers past 2^53 are not told apart by their nearest double.
    const added = field.isWide
      ? builder.addText(field, leaf, { text: (record, at) => text(field.wide(record, at)), repeats: true })
      : builder.addNumberText(field, leaf, (value) => text(BigInt(value)));
    if (added !== null && type.values.length <= 256) added.suggest('value.one-of', type.values.map((value) => value.name).join(', '));
  },
};

/** The name of a value, the first declared of several; `UNKNOWN` for one without a name. */
export function valueNames(type: BtfEnum): (value: bigint) => string {
  const names = new Map<bigint, string>();
  for (const { name, value } of type.values) if (!names.has(value)) names.set(value, name);
  return (value) => names.get(value) ?? 'UNKNOWN';
}

/**
 * The names of the bits that are set, in the enum's order; bits without a name in hex. An enumerator of value 0 is named
 * only where no bit is set.
 */
export function bitNames(type: BtfEnum, separator: string): (value: bigint) => string {
  const width = type.size * 8;
  const bits = type.values.map(({ name, value }) => ({ name, value: BigInt.asUintN(width, value) }));
  const zero = bits.find(({ value }) => value === 0n)?.name ?? '';
  return (signed) => {
    const value = BigInt.asUintN(width, signed);
    if (value === 0n) return zero;
    const names: string[] = [];
    let rest = value;
    for (const bit of bits) {
      if (bit.value === 0n || (value & bit.value) !== bit.value) continue;
      names.push(bit.name);
      rest &= ~bit.value;
    }
    if (rest !== 0n) names.push(`0x${rest.toString(16)}`);
    return names.join(separator);
  };
}
