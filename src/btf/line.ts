import { cString } from '../bytes/text.ts';
import type { Btf } from './btf.ts';
import type { BtfExt, BtfExtSection } from './ext.ts';

/** Longer source lines are cut. */
const maxText = 4096;

/** A line of source. */
export interface SourceLine {
  /** The file's path as the compiler was given it. */
  readonly file: string;
  /** From 1; 0 where the compiler knew none. */
  readonly line: number;
  readonly column: number;
  /** The line itself, with its indentation; '' where the object does not carry it. */
  readonly text: string;
}

/** One record of line_info. */
export interface LineRecord extends SourceLine {
  /** Byte offset of the first instruction it speaks of. */
  readonly insnOffset: number;
}

/**
 * The source line of the instruction at a byte offset of a section: that of the last record at or before it. Null where
 * there are no records for it.
 */
export function lineAt(ext: BtfExt, btf: Btf, sectionName: string, insnByteOffset: number): SourceLine | null {
  const section = ext.lineInfo.find((info) => info.sectionName === sectionName);
  if (section === undefined) return null;
  const view = viewOf(section);
  let low = 0;
  let high = section.count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (view.getUint32(middle * section.recordSize, ext.littleEndian) <= insnByteOffset) low = middle + 1;
    else high = middle;
  }
  return low === 0 ? null : readLine(section, view, low - 1, ext, btf);
}

/** All line records of a section, in file order. */
export function linesOf(ext: BtfExt, btf: Btf, sectionName: string): LineRecord[] {
  return ext.lineInfo
    .filter((info) => info.sectionName === sectionName)
    .flatMap((section) => {
      const view = viewOf(section);
      return Array.from({ length: section.count }, (_, i) => ({
        insnOffset: view.getUint32(i * section.recordSize, ext.littleEndian),
        ...readLine(section, view, i, ext, btf),
      }));
    });
}

function viewOf(section: BtfExtSection): DataView {
  return new DataView(section.bytes.buffer, section.bytes.byteOffset, section.bytes.byteLength);
}

function readLine(section: BtfExtSection, view: DataView, index: number, ext: BtfExt, btf: Btf): SourceLine {
  const at = index * section.recordSize;
  const place = view.getUint32(at + 12, ext.littleEndian);
  const text = (offset: number): string => cString(btf.stringBytes(offset).subarray(0, maxText));
  return {
    file: text(view.getUint32(at + 4, ext.littleEndian)),
    text: text(view.getUint32(at + 8, ext.littleEndian)),
    // BPF_LINE_INFO_LINE_NUM and BPF_LINE_INFO_LINE_COL.
    line: place >>> 10,
    column: place & 0x3ff,
  };
}
