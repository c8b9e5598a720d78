import { FormatError } from '../error.ts';
import type { Btf } from './btf.ts';
import type { BtfDatasec } from './types.ts';

/** First word of the i-th btf_var_secinfo. */
export function variableWord(index: number): number {
  return 3 + index * 3;
}

export function datasecError(btf: Btf, section: BtfDatasec, why: string, variable?: string): FormatError {
  const where = { ...btf.where(), id: section.id, section: section.name, ...(variable === undefined ? {} : { variable }) };
  return new FormatError({ code: 'E_BTF_DATASEC', what: 'cannot complete the BTF of a data section', where, why });
}
