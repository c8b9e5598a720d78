import type { Btf } from '../../../btf/btf.ts';
import { Cursor } from '../../../bytes/cursor.ts';

/** The records of one section, each as words. */
export interface ExtWords {
  readonly sectionName: string;
  readonly recordSize: number;
  readonly records: Uint32Array[];
}

/** Offset of each part's place in struct btf_ext_header. */
const places = { funcInfo: 8, lineInfo: 16, coreRelos: 24 } as const;

/** One part of a .BTF.ext as words; the parser has checked it before. */
export function btfExtWords(bytes: Uint8Array, btf: Btf, part: keyof typeof places): ExtWords[] {
  const cursor = new Cursor(bytes, { littleEndian: btf.littleEndian, structure: 'BTF.ext', code: 'E_BTF_EXT' });
  const headerLength = cursor.seek(4).u32();
  const place = places[part];
  if (headerLength < place + 8) return [];
  const offset = cursor.seek(place).u32();
  const length = cursor.u32();
  if (length === 0) return [];
  const inner = new Cursor(cursor.seek(headerLength + offset).take(length), {
    littleEndian: btf.littleEndian,
    structure: 'BTF.ext',
    code: 'E_BTF_EXT',
  });
  const recordSize = inner.u32();
  const sections: ExtWords[] = [];
  while (inner.remaining > 0) {
    const sectionName = btf.nameAt(inner.u32());
    const count = inner.u32();
    inner.ensure(count, recordSize, 'num_info');
    const records = Array.from({ length: count }, () => Uint32Array.from({ length: recordSize / 4 }, () => inner.u32()));
    sections.push({ sectionName, recordSize, records });
  }
  return sections;
}
