import type { Btf } from '../btf/index.ts';

/** A type as one would say it in C, on one line: `const char *`, `struct event`, `__u8[16]`. */
export function typeText(btf: Btf, id: number, depth = 0): string {
  const type = btf.type(id);
  if (depth > 16) return '...';
  switch (type.kind) {
    case 'UNKN':
      return 'void';
    case 'PTR':
      return `${typeText(btf, type.typeId, depth + 1)} *`;
    case 'CONST':
    case 'VOLATILE':
    case 'RESTRICT':
      return `${type.kind.toLowerCase()} ${typeText(btf, type.typeId, depth + 1)}`;
    case 'TYPE_TAG':
      return typeText(btf, type.typeId, depth + 1);
    case 'ARRAY':
      return `${typeText(btf, type.typeId, depth + 1)}[${type.count}]`;
    case 'STRUCT':
    case 'UNION':
    case 'ENUM':
      return `${type.kind.toLowerCase()} ${type.name || '(anonymous)'}`;
    case 'ENUM64':
      return `enum ${type.name || '(anonymous)'}`;
    case 'FWD':
      return `${type.target.toLowerCase()} ${type.name}`;
    case 'FUNC_PROTO':
      return `${typeText(btf, type.returnTypeId, depth + 1)} (${type.params.map((param) => typeText(btf, param.typeId, depth + 1)).join(', ')})`;
    default:
      return type.name;
  }
}
