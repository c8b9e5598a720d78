import type { CoreSpec } from '../core/spec.ts';
import { isComposite, type Types } from '../core/types.ts';

/** Which types of a BTF, and which members of its structs and unions, are to be kept. */
export class Marks {
  readonly #types: Types;
  readonly #kept = new Set<number>();
  readonly #members = new Map<number, Set<number>>();
  readonly #matched = new Set<number>();
  readonly #matchedBehindPointer = new Set<number>();

  constructor(types: Types) {
    this.#types = types;
  }

  /** Ids of the types kept, ascending. */
  get ids(): number[] {
    return [...this.#kept].toSorted((a, b) => a - b);
  }

  hasMember(id: number, index: number): boolean {
    return this.#members.get(id)?.has(index) ?? false;
  }

  /** Keeps a type and all it is made of, structs and unions without their members. */
  type(id: number): void {
    const wanted = [id];
    for (let at = wanted.pop(); at !== undefined; at = wanted.pop()) {
      if (at === 0 || this.#kept.has(at)) continue;
      this.#kept.add(at);
      const type = this.#types.type(at);
      switch (type.kind) {
        // Pointers are followed too: `void *` and a pointer to a struct are not the same to type_exists.
        case 'PTR':
        case 'TYPEDEF':
        case 'VOLATILE':
        case 'CONST':
        case 'RESTRICT':
        case 'TYPE_TAG':
          wanted.push(type.typeId);
          break;
        case 'ARRAY':
          wanted.push(type.typeId, type.indexTypeId);
          break;
        case 'FUNC_PROTO':
          wanted.push(type.returnTypeId, ...type.params.map((param) => param.typeId));
          break;
        default:
      }
    }
  }

  member(id: number, index: number): void {
    const type = this.#types.type(id);
    if (!isComposite(type)) return;
    this.type(id);
    let members = this.#members.get(id);
    if (members === undefined) this.#members.set(id, (members = new Set()));
    if (members.has(index)) return;
    const member = type.members[index];
    if (member === undefined) return;
    members.add(index);
    this.type(member.typeId);
    // An array without elements may be indexed only as the last member, so it must not become that.
    const { type: of } = this.#types.skip(member.typeId);
    if (of.kind === 'ARRAY' && of.count === 0) this.member(id, type.members.length - 1);
  }

  /** Keeps the members that an access goes through. */
  field(spec: CoreSpec): void {
    this.type(spec.rootTypeId);
    let id = this.#types.skip(spec.rootTypeId).id;
    for (const step of spec.raw.slice(1)) {
      const type = this.#types.type(id);
      if (isComposite(type)) {
        this.member(id, step);
        id = this.#types.skip(type.members[step]?.typeId ?? 0).id;
      } else if (type.kind === 'ARRAY') {
        id = this.#types.skip(type.typeId).id;
      }
    }
  }

  /** Keeps what type_matches looks at: all members, down to the first pointer. */
  matched(id: number): void {
    const wanted = [{ id, behindPointer: false }];
    for (let at = wanted.pop(); at !== undefined; at = wanted.pop()) {
      const seen = at.behindPointer ? this.#matchedBehindPointer : this.#matched;
      if (at.id === 0 || seen.has(at.id)) continue;
      seen.add(at.id);
      this.type(at.id);
      const type = this.#types.type(at.id);
      const { behindPointer } = at;
      const next = (typeId: number, pointer: boolean = behindPointer): unknown => wanted.push({ id: typeId, behindPointer: pointer });
      switch (type.kind) {
        case 'STRUCT':
        case 'UNION':
          if (behindPointer) break;
          type.members.forEach((member, index) => {
            this.member(type.id, index);
            next(member.typeId);
          });
          break;
        case 'PTR':
          next(type.typeId, true);
          break;
        case 'TYPEDEF':
        case 'VOLATILE':
        case 'CONST':
        case 'RESTRICT':
        case 'TYPE_TAG':
        case 'ARRAY':
          next(type.typeId);
          break;
        case 'FUNC_PROTO':
          next(type.returnTypeId);
          for (const param of type.params) next(param.typeId);
          break;
        default:
      }
    }
  }
}
