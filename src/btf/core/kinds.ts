/** CO-RE relocation kinds, with the kernel's numbers (enum bpf_core_relo_kind, include/uapi/linux/bpf.h). */
export const CORE_KIND = {
  FIELD_BYTE_OFFSET: 0,
  FIELD_BYTE_SIZE: 1,
  FIELD_EXISTS: 2,
  FIELD_SIGNED: 3,
  FIELD_LSHIFT_U64: 4,
  FIELD_RSHIFT_U64: 5,
  TYPE_ID_LOCAL: 6,
  TYPE_ID_TARGET: 7,
  TYPE_EXISTS: 8,
  TYPE_SIZE: 9,
  ENUMVAL_EXISTS: 10,
  ENUMVAL_VALUE: 11,
  TYPE_MATCHES: 12,
} as const;

/** The names libbpf's log has for the kinds, by number. */
const names = [
  'byte_off',
  'byte_sz',
  'field_exists',
  'signed',
  'lshift_u64',
  'rshift_u64',
  'local_type_id',
  'target_type_id',
  'type_exists',
  'type_size',
  'enumval_exists',
  'enumval_value',
  'type_matches',
] as const;

/** libbpf's name of a relocation kind: `byte_off`, `enumval_exists`...; `unknown` for a number it does not know. */
export function coreKindName(kind: number): string {
  return names[kind] ?? 'unknown';
}

/** What a relocation asks about: a field, a whole type or an enumerator; null for an unknown kind. */
export type CoreSubject = 'field' | 'type' | 'enumval';

export function coreSubject(kind: number): CoreSubject | null {
  if (kind >= CORE_KIND.FIELD_BYTE_OFFSET && kind <= CORE_KIND.FIELD_RSHIFT_U64) return 'field';
  if (kind >= CORE_KIND.TYPE_ID_LOCAL && kind <= CORE_KIND.TYPE_SIZE) return 'type';
  if (kind === CORE_KIND.ENUMVAL_EXISTS || kind === CORE_KIND.ENUMVAL_VALUE) return 'enumval';
  return kind === CORE_KIND.TYPE_MATCHES ? 'type' : null;
}
