import type { Btf } from '../../btf/btf.ts';
import type { SourceLine } from '../../btf/line.ts';
import { Cursor } from '../../bytes/cursor.ts';
import type { InfoRecords } from '../object/linked.ts';

/** The C line an instruction (in slots) came from: the last line_info record at or before it; null without line info. */
export function sourceLine(lineInfo: InfoRecords, btf: Btf, insn: number): SourceLine | null {
  if (lineInfo.count === 0) return null;
  const cursor = new Cursor(lineInfo.bytes, { structure: 'line_info' });
  let best: SourceLine | null = null;
  for (let i = 0; i < lineInfo.count; i++) {
    cursor.seek(i * lineInfo.recordSize);
    if (cursor.u32() > insn) break;
    const file = cursor.u32();
    const text = cursor.u32();
    const lineColumn = cursor.u32();
    // struct bpf_line_info packs line and column into one word: BPF_LINE_INFO_LINE_NUM, BPF_LINE_INFO_LINE_COL.
    best = { file: btf.string(file), text: btf.string(text).trim(), line: lineColumn >>> 10, column: lineColumn & 0x3ff };
  }
  return best;
}
