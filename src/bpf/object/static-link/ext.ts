import { btfExtWords } from './ext-words.ts';
import { linkError } from './error.ts';
import type { InputObject } from './input.ts';
import type { OutputRecords, OutputSection } from './output.ts';
import type { StringPool } from '../../../btf/string-pool.ts';

/** What each word of a record is: only those that have to be changed are named. */
interface RecordShape {
  readonly part: 'funcInfo' | 'lineInfo' | 'coreRelos';
  /** Words that are offsets of strings, and the one that is a type. */
  readonly strings: readonly number[];
  readonly type: number | null;
}

/** struct bpf_func_info, bpf_line_info and bpf_core_relo (include/uapi/linux/bpf.h); word 0 is the offset of the instruction. */
const shapes: readonly RecordShape[] = [
  { part: 'funcInfo', strings: [], type: 1 },
  { part: 'lineInfo', strings: [1, 2], type: null },
  { part: 'coreRelos', strings: [2], type: 1 },
];

/** Appends an object's .BTF.ext: offsets, types and strings become the output's. */
export function addExt(input: InputObject, strings: StringPool): void {
  const { btf, ext } = input;
  const section = input.elf.sections.find(({ name }) => name === '.BTF.ext');
  if (btf === null || ext === null || section === undefined) return;
  for (const shape of shapes) {
    for (const info of btfExtWords(section.data, btf, shape.part)) {
      const target = input.sections.find(({ name }) => name === info.sectionName);
      if (target?.output === undefined || target.output === null) {
        throw linkError(
          'E_STATIC_LINK_BTF',
          { object: input.name, section: info.sectionName },
          '.BTF.ext is about a section that is not there',
        );
      }
      const records = target.output[shape.part];
      if (records.recordSize === 0) records.recordSize = info.recordSize;
      if (records.recordSize !== info.recordSize) {
        throw linkError(
          'E_STATIC_LINK_BTF',
          { object: input.name, section: info.sectionName },
          `records of .BTF.ext have ${info.recordSize} and ${records.recordSize} bytes`,
        );
      }
      for (const words of info.records) {
        words[0] = (words[0] as number) + target.offset;
        if (shape.type !== null) words[shape.type] = mapped(input, words[shape.type] as number);
        for (const word of shape.strings) words[word] = strings.addBytes(btf.stringBytes(words[word] as number));
        records.records.push(words);
      }
    }
  }
}

function mapped(input: InputObject, id: number): number {
  const newId = id === 0 ? 0 : input.typeMap[id];
  if (newId === undefined || (newId === 0 && id !== 0))
    throw linkError('E_STATIC_LINK_BTF', { object: input.name, id }, '.BTF.ext refers to a type that is left out');
  return newId;
}

/** Writes .BTF.ext; null where there is nothing to write. */
export function encodeExt(sections: readonly OutputSection[], strings: StringPool, littleEndian: boolean): Uint8Array | null {
  const parts = shapes.map(({ part }) =>
    encodePart(
      sections.map((section) => [section.name, section[part]] as const),
      strings,
    ),
  );
  const total = parts.reduce((sum, words) => sum + words.length, 0);
  if (total === 0) return null;
  const headerWords = 8;
  const words: number[] = [];
  let offset = 0;
  for (const part of parts) {
    words.push(offset, part.length * 4);
    offset += part.length * 4;
  }
  const bytes = new Uint8Array((headerWords + total) * 4);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 0xeb9f, littleEndian);
  view.setUint8(2, 1);
  view.setUint32(4, headerWords * 4, littleEndian);
  [...words, ...parts.flat()].forEach((word, i) => view.setUint32(8 + i * 4, word, littleEndian));
  return bytes;
}

function encodePart(sections: readonly (readonly [name: string, records: OutputRecords])[], strings: StringPool): number[] {
  const used = sections.filter(([, { records }]) => records.length > 0);
  const [first] = used;
  if (first === undefined) return [];
  const { recordSize } = first[1];
  const words = [recordSize];
  for (const [name, { recordSize: size, records }] of used) {
    if (size !== recordSize)
      throw linkError('E_STATIC_LINK_BTF', { section: name }, `records of .BTF.ext have ${size} and ${recordSize} bytes`);
    words.push(strings.add(name), records.length);
    for (const record of records) words.push(...record);
  }
  return words;
}
