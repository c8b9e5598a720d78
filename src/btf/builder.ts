import { UnsupportedError, UsageError } from '../error.ts';
import type { Btf } from './btf.ts';
import { kindName } from './decode.ts';
import { encodeSections, infoWord, intWord } from './encode.ts';
import { kindLayouts } from './kinds.ts';
import { kindOfInfo, visitStringWords, visitTypeWords, vlenOfInfo } from './refs.ts';
import { StringPool } from './string-pool.ts';
import { BTF_KIND, type BtfMember, type BtfType, type BtfUnknown, type BtfVoid } from './types.ts';

type WithoutId<T> = T extends unknown ? Omit<T, 'id'> : never;
/** A type to be added: a {@link BtfType} without its id. */
export type BtfNewType = WithoutId<Exclude<BtfType, BtfVoid | BtfUnknown>>;

/** How {@link BtfBuilder.encode} writes. */
export interface BtfEncodeOptions {
  /** Little endian unless said. */
  readonly littleEndian?: boolean;
  /** Whether to add a layout section, which lets older readers skip newer kinds; not unless said (old kernels refuse it). */
  readonly layout?: boolean;
}

/** Most elements of a type (BTF_MAX_VLEN). */
const maxVlen = 0xffffff;

/**
 * Builds BTF: adds types one by one, or copies them with all they refer to from another BTF, then encodes.
 * Ids are given in order, so a type may refer to one that comes later through {@link nextId}.
 *
 * @example
 * import { Btf, BtfBuilder } from 'rawbpf/btf';
 * const builder = new BtfBuilder();
 * const u32 = builder.add({ kind: 'INT', name: 'unsigned int', size: 4, encoding: 0, bitOffset: 0, bits: 32 });
 * builder.add({ kind: 'STRUCT', name: 'event', size: 4, members: [{ name: 'pid', typeId: u32, bitOffset: 0, bitSize: 0 }] });
 * console.log(Btf.parse(builder.encode()).findByName('event')); // 2
 */
export class BtfBuilder {
  readonly base: Btf | null;
  readonly #strings: StringPool;
  readonly #words: number[] = [];
  readonly #copied = new Map<Btf, Map<number, number>>();
  #nextId: number;

  constructor(options: { readonly base?: Btf } = {}) {
    this.base = options.base ?? null;
    this.#strings = new StringPool(this.base);
    this.#nextId = this.base?.typeCount ?? 1;
  }

  /** The id that the next type will get. */
  get nextId(): number {
    return this.#nextId;
  }

  /** Adds a type and gives its id; throws {@link UsageError} `E_BTF_BUILD` for values that BTF cannot hold. */
  add(type: BtfNewType): number {
    return this.#push(this.#wordsOf(type));
  }

  /**
   * Copies a type and everything it refers to, unless copied before, and gives its id here. Types of a common base are
   * not copied: they keep their ids.
   */
  copy(from: Btf, id: number): number {
    const ids = this.#idsCopied(from);
    const known = this.#sharedId(from, id) ?? ids.get(id);
    if (known !== undefined) return known;
    const wanted = this.#reachable(from, id, ids);
    // All ids first: types refer to each other in circles.
    wanted.forEach((wantedId, i) => ids.set(wantedId, this.#nextId + i));
    for (const wantedId of wanted) this.#push(this.#copiedWords(from, wantedId, ids));
    return ids.get(id) as number;
  }

  encode(options: BtfEncodeOptions = {}): Uint8Array {
    const littleEndian = options.littleEndian ?? true;
    const types = new Uint8Array(this.#words.length * 4);
    const view = new DataView(types.buffer);
    this.#words.forEach((word, i) => view.setUint32(i * 4, word, littleEndian));
    const layout = options.layout === true ? encodeLayout() : new Uint8Array(0);
    return encodeSections({ littleEndian, flags: 0, types, strings: this.#strings.encode(), layout });
  }

  #push(words: readonly number[]): number {
    for (const word of words) this.#words.push(word);
    return this.#nextId++;
  }

  #wordsOf(type: BtfNewType): number[] {
    const kind = BTF_KIND[type.kind];
    const name = this.#strings.add(type.name);
    const head = (sizeOrType: number, vlen = 0, flag = false): number[] => {
      if (vlen > maxVlen) throw buildError(type, 'vlen', vlen);
      return [name, infoWord(kind, vlen, flag), u32(type, 'size or type', sizeOrType)];
    };
    switch (type.kind) {
      case 'INT':
        if (type.bits > 0xff || type.bitOffset > 0xff || type.encoding > 15) throw buildError(type, 'bits', type.bits);
        return [...head(type.size), intWord(type.encoding, type.bitOffset, type.bits)];
      case 'PTR':
      case 'TYPEDEF':
      case 'VOLATILE':
      case 'CONST':
      case 'RESTRICT':
      case 'TYPE_TAG':
        return head(type.typeId, 0, type.attribute);
      case 'ARRAY':
        return [...head(0), type.typeId, type.indexTypeId, u32(type, 'count', type.count)];
      case 'STRUCT':
      case 'UNION': {
        const bitfields = type.members.some((member) => member.bitSize !== 0);
        const members = type.members.flatMap((member) => [
          this.#strings.add(member.name),
          member.typeId,
          memberPlace(type, member, bitfields),
        ]);
        return [...head(type.size, type.members.length, bitfields), ...members];
      }
      case 'ENUM':
        return [
          ...head(type.size, type.values.length, type.signed),
          ...type.values.flatMap(({ name: text, value }) => [
            this.#strings.add(text),
            Number(BigInt.asUintN(32, enumValue(type, value, type.signed, 32))),
          ]),
        ];
      case 'ENUM64':
        return [
          ...head(type.size, type.values.length, type.signed),
          ...type.values.flatMap(({ name: text, value }) => {
            const bits = BigInt.asUintN(64, enumValue(type, value, type.signed, 64));
            return [this.#strings.add(text), Number(bits & 0xffffffffn), Number(bits >> 32n)];
          }),
        ];
      case 'FWD':
        return head(0, 0, type.target === 'UNION');
      case 'FUNC':
        return head(type.typeId, type.linkage);
      case 'FUNC_PROTO':
        return [
          ...head(type.returnTypeId, type.params.length),
          ...type.params.flatMap((param) => [this.#strings.add(param.name), param.typeId]),
        ];
      case 'VAR':
        return [...head(type.typeId), u32(type, 'linkage', type.linkage)];
      case 'DATASEC':
        return [
          ...head(type.size, type.variables.length),
          ...type.variables.flatMap((variable) => [
            variable.typeId,
            u32(type, 'offset', variable.offset),
            u32(type, 'size', variable.size),
          ]),
        ];
      case 'FLOAT':
        return head(type.size);
      default: // DECL_TAG
        return [...head(type.typeId, 0, type.attribute), type.componentIndex >>> 0];
    }
  }

  #idsCopied(from: Btf): Map<number, number> {
    let ids = this.#copied.get(from);
    if (ids === undefined) this.#copied.set(from, (ids = new Map()));
    return ids;
  }

  /** The same id, where the type is void or lies in a base that both share. */
  #sharedId(from: Btf, id: number): number | undefined {
    if (id === 0) return 0;
    for (let owner: Btf | null = from; owner !== null; owner = owner.base) {
      if (owner === this.base) return id < owner.typeCount ? id : undefined;
    }
    return undefined;
  }

  /** The ids of a type and all it leads to that are not copied yet, ascending. */
  #reachable(from: Btf, id: number, copied: ReadonlyMap<number, number>): number[] {
    const seen = new Set([id]);
    // A Set walks over what is added to it on the way.
    for (const next of seen) {
      const { words, kind, vlen } = rawWords(from, next);
      if (kind > BTF_KIND.ENUM64)
        throw new UnsupportedError({ code: 'E_BTF_KIND', what: 'cannot copy a type of unknown kind', where: { id: next, kind } });
      visitTypeWords(kind, vlen, (word) => {
        const target = words[word] as number;
        if (this.#sharedId(from, target) === undefined && !copied.has(target)) seen.add(target);
      });
    }
    return [...seen].toSorted((a, b) => a - b);
  }

  #copiedWords(from: Btf, id: number, ids: ReadonlyMap<number, number>): number[] {
    const { words, kind, vlen } = rawWords(from, id);
    visitTypeWords(kind, vlen, (word) => {
      const target = words[word] as number;
      words[word] = this.#sharedId(from, target) ?? (ids.get(target) as number);
    });
    visitStringWords(kind, vlen, (word) => {
      const offset = words[word] as number;
      words[word] = offset === 0 ? 0 : this.#strings.addBytes(from.stringBytes(offset));
    });
    return words;
  }
}

/** The 32-bit words of a type, wherever in the chain of bases it lies. */
export function rawWords(btf: Btf, id: number): { readonly words: number[]; readonly kind: number; readonly vlen: number } {
  let owner = btf;
  while (id < owner.firstId && owner.base !== null) owner = owner.base;
  const at = owner.offsetOf(id);
  const length = owner.typeBytes(id).length / 4;
  const words = Array.from({ length }, (_, i) => owner.view.getUint32(at + i * 4, owner.littleEndian));
  const info = words[1] as number;
  return { words, kind: kindOfInfo(info), vlen: vlenOfInfo(info) };
}

function encodeLayout(): Uint8Array {
  return Uint8Array.from(kindLayouts.flatMap(({ infoSize, elementSize }) => [infoSize, elementSize, 0, 0]));
}

function memberPlace(type: BtfNewType, member: BtfMember, bitfields: boolean): number {
  if (!bitfields) return u32(type, 'bitOffset', member.bitOffset);
  // With kind_flag an offset has 24 bits.
  if (member.bitOffset > 0xffffff || member.bitSize > 0xff) throw buildError(type, 'bitOffset', member.bitOffset);
  return ((member.bitSize << 24) | member.bitOffset) >>> 0;
}

function enumValue(type: BtfNewType, value: bigint, signed: boolean, bits: number): bigint {
  if ((signed ? BigInt.asIntN(bits, value) : BigInt.asUintN(bits, value)) !== value) throw buildError(type, 'value', value);
  return value;
}

function u32(type: BtfNewType, field: string, value: number): number {
  if (!Number.isInteger(value) || value < 0 || value > 0xffffffff) throw buildError(type, field, value);
  return value;
}

function buildError(type: BtfNewType, field: string, value: number | bigint): UsageError {
  const where = { kind: kindName(BTF_KIND[type.kind]) ?? '', name: type.name, field };
  return new UsageError({ code: 'E_BTF_BUILD', what: 'BTF cannot hold this value', where, why: `it is ${value}` });
}
