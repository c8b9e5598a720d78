import type { Btf } from '../btf.ts';
import { resolveType } from '../value/resolve.ts';

/** Declarations nested deeper than this are cut short. */
const maxDepth = 16;

/** A declaration as one would write it in C, on one line: `char comm[16]`, `int (*fn)(void *)`; anonymous bodies are `{...}`. */
export function cDeclaration(btf: Btf, typeId: number, name: string): string {
  return declaration(btf, typeId, name, 0);
}

function declaration(btf: Btf, typeId: number, name: string, depth: number): string {
  let inner = name;
  let qualifiers = '';
  let id = typeId;
  for (let step = depth; step < maxDepth; step++) {
    const type = btf.type(id);
    switch (type.kind) {
      case 'CONST':
      case 'VOLATILE':
      case 'RESTRICT':
        qualifiers += `${type.kind.toLowerCase()} `;
        id = type.typeId;
        break;
      case 'TYPE_TAG':
      case 'VAR':
      case 'DECL_TAG':
        id = type.typeId;
        break;
      case 'PTR':
        inner = `*${inner === '' ? qualifiers.trimEnd() : qualifiers}${inner}`;
        qualifiers = '';
        id = type.typeId;
        break;
      case 'ARRAY':
        inner = `${inner.startsWith('*') ? `(${inner})` : inner}[${type.count}]`;
        id = type.typeId;
        break;
      case 'FUNC_PROTO': {
        const params = type.params.map((param) =>
          param.typeId === 0 && param.name === '' ? '...' : declaration(btf, param.typeId, param.name, step + 1),
        );
        inner = `${inner.startsWith('*') ? `(${inner})` : inner}(${params.length === 0 ? 'void' : params.join(', ')})`;
        qualifiers = '';
        id = type.returnTypeId;
        break;
      }
      default: {
        const base = `${qualifiers}${baseName(btf, id)}`;
        return inner === '' ? base : `${base} ${inner}`;
      }
    }
  }
  return inner === '' ? '...' : `... ${inner}`;
}

function baseName(btf: Btf, id: number): string {
  const type = btf.type(id);
  const resolved = type.kind === 'TYPEDEF' ? null : resolveType(btf, id);
  switch (resolved?.kind) {
    case 'STRUCT':
    case 'UNION':
    case 'ENUM':
    case 'ENUM64':
    case 'FWD': {
      const word =
        resolved.kind === 'FWD' ? resolved.target.toLowerCase() : resolved.kind === 'ENUM64' ? 'enum' : resolved.kind.toLowerCase();
      return type.name === '' ? `${word} {...}` : `${word} ${type.name}`;
    }
    default:
      return type.name === '' ? 'void' : type.name;
  }
}
