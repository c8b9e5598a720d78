import { Cursor } from '../bytes/cursor.ts';
import { plainBytes } from '../bytes/plain.ts';
import { readMagic } from './header.ts';

/** Which words of a record, counted from its start, hold strings and type ids. */
interface RecordShape {
  readonly strings: readonly number[];
  readonly types: readonly number[];
}

/** func_info, line_info and core_relo, in the order of the header. */
const shapes: readonly RecordShape[] = [
  { strings: [], types: [1] },
  { strings: [1, 2], types: [] },
  { strings: [2], types: [1] },
];

/** A copy of .BTF.ext with every string offset and type id replaced; the caller has parsed it, so its sizes are right. */
export function remapBtfExt(bytes: Uint8Array, mapString: (offset: number) => number, mapType: (id: number) => number): Uint8Array {
  const copy = plainBytes(bytes).slice();
  const littleEndian = readMagic(copy, { structure: '.BTF.ext' });
  const cursor = new Cursor(copy, { littleEndian, structure: '.BTF.ext', code: 'E_BTF_EXT' });
  const view = new DataView(copy.buffer);
  const replace = (at: number, map: (value: number) => number): void =>
    view.setUint32(at, map(view.getUint32(at, littleEndian)), littleEndian);
  const headerLength = cursor.seek(4).u32();
  shapes.forEach((shape, part) => {
    const field = 8 + part * 8;
    if (field + 8 > headerLength) return;
    cursor.seek(field);
    const start = headerLength + cursor.u32();
    const end = start + cursor.u32();
    if (end === start) return;
    const recordSize = cursor.seek(start).u32();
    while (cursor.offset < end) {
      const at = cursor.offset;
      cursor.skip(4);
      const count = cursor.u32();
      replace(at, mapString);
      cursor.ensure(count, Math.max(recordSize, 1), 'num_info');
      for (let i = 0; i < count; i++) {
        const record = cursor.offset;
        cursor.skip(recordSize);
        for (const word of shape.strings) replace(record + word * 4, mapString);
        for (const word of shape.types) replace(record + word * 4, mapType);
      }
    }
  });
  return copy;
}
