import { BTF_KIND } from '../../types.ts';
import type { TypeTable } from '../table.ts';

const {
  INT,
  PTR,
  ARRAY,
  STRUCT,
  UNION,
  ENUM,
  TYPEDEF,
  VOLATILE,
  CONST,
  RESTRICT,
  FUNC,
  FUNC_PROTO,
  VAR,
  DATASEC,
  DECL_TAG,
  TYPE_TAG,
  ENUM64,
} = BTF_KIND;

/** What one look at all types shows. */
export interface TypeSurvey {
  /** 1 for anonymous enums that nothing refers to: constants. Others stand where they are used. */
  readonly loneEnums: Uint8Array;
  /** Every byte offset at which a struct is a member by value, or-ed together: its low bits limit the alignment. */
  readonly embedded: Uint32Array;
  /** True where an INT has fewer bits than its bytes: bitfields as they were before kind_flag. */
  readonly hasOddInts: boolean;
  /** True where a struct or union will be written, by name or within a typedef. */
  readonly hasRecords: boolean;
}

export function surveyTypes(table: TypeTable): TypeSurvey {
  const { words, heads, kinds, count } = table;
  const loneEnums = new Uint8Array(count);
  const embedded = new Uint32Array(count);
  let hasOddInts = false;
  let hasRecords = false;
  for (let id = 1; id < count; id++) {
    const kind = kinds[id];
    if ((kind === ENUM || kind === ENUM64) && words[heads[id] as number] === 0) loneEnums[id] = 1;
  }
  // Ids past the end write nothing into typed arrays: whoever follows such a reference finds that out.
  for (let id = 1; id < count; id++) {
    const head = heads[id] as number;
    const info = words[head + 1] as number;
    const vlen = info & 0xffffff;
    switch (kinds[id]) {
      case INT: {
        const bits = (words[head + 3] as number) & 0xff;
        hasOddInts ||= bits !== (words[head + 2] as number) * 8;
        break;
      }
      case STRUCT:
      case UNION: {
        const bitfields = info >>> 31 === 1;
        hasRecords ||= words[head] !== 0;
        for (let i = 0, at = head + 3; i < vlen; i++, at += 3) {
          const typeId = words[at + 1] as number;
          const kind = kinds[typeId];
          loneEnums[typeId] = 0;
          if (kind === INT || kind === PTR || kind === ENUM) continue;
          const inner = table.element(typeId);
          if (kinds[inner] !== STRUCT && kinds[inner] !== UNION) continue;
          const place = words[at + 2] as number;
          embedded[inner] = (embedded[inner] as number) | ((bitfields ? place & 0xffffff : place) >>> 3);
        }
        break;
      }
      case ARRAY:
        loneEnums[words[head + 3] as number] = 0;
        break;
      case FUNC_PROTO:
        loneEnums[words[head + 2] as number] = 0;
        for (let i = 0; i < vlen; i++) loneEnums[words[head + 4 + i * 2] as number] = 0;
        break;
      case DATASEC:
        for (let i = 0; i < vlen; i++) loneEnums[words[head + 3 + i * 3] as number] = 0;
        break;
      case TYPEDEF: {
        const target = words[head + 2] as number;
        loneEnums[target] = 0;
        hasRecords ||= kinds[target] === STRUCT || kinds[target] === UNION;
        break;
      }
      case PTR:
      case VOLATILE:
      case CONST:
      case RESTRICT:
      case FUNC:
      case VAR:
      case DECL_TAG:
      case TYPE_TAG:
        loneEnums[words[head + 2] as number] = 0;
        break;
      default:
    }
  }
  return { loneEnums, embedded, hasOddInts, hasRecords };
}
