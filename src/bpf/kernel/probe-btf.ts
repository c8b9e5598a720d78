import { bpf } from '../../sys/bpf.ts';
import type { Sys } from '../../sys/sys.ts';
import { BTF_KIND } from '../../btf/types.ts';
import { toUtf8 } from '../../bytes/text.ts';

/** A hand-made BTF: 32-bit words of its types, and its strings. */
export interface ProbeBtf {
  readonly types: readonly number[];
  readonly strings: string;
  /** Whether it carries the layout section of newer kernels. */
  readonly layout?: boolean;
}

const info = (kind: keyof typeof BTF_KIND, count = 0): number => (BTF_KIND[kind] << 24) | count;
/** A signed 32-bit int: name, info, size, encoding. */
const int = (name: number): number[] => [name, info('INT'), 4, (1 << 24) | 32];
const func = (linkage: number): number[] => [...int(1), 0, info('FUNC_PROTO', 1), 0, 5, 1, 7, info('FUNC', linkage), 2];
const datasec = [...int(0), 1, info('VAR'), 1, 0, 3, info('DATASEC', 1), 4, 2, 0, 4];

export type ProbeBtfName =
  | 'int'
  | 'func'
  | 'funcGlobal'
  | 'datasec'
  | 'qmarkDatasec'
  | 'float'
  | 'declTag'
  | 'typeTag'
  | 'enum64'
  | 'layout'
  | 'argCtxTag';

/** What each feature of BTF is tried with; ids and string offsets are written out. */
export const probeBtfs: Readonly<Record<ProbeBtfName, ProbeBtf>> = {
  int: { types: int(1), strings: '\0int\0' },
  func: { types: func(0), strings: '\0int\0a\0x\0' },
  funcGlobal: { types: func(1), strings: '\0int\0a\0x\0' },
  datasec: { types: datasec, strings: '\0x\0.data\0' },
  qmarkDatasec: { types: datasec, strings: '\0x\0?.data\0' },
  float: { types: [1, info('FLOAT'), 4], strings: '\0float\0' },
  declTag: { types: [...int(0), 1, info('VAR'), 1, 1, 1, info('DECL_TAG'), 2, -1], strings: '\0x\0' },
  typeTag: { types: [...int(0), 1, info('TYPE_TAG'), 1, 0, info('PTR'), 2], strings: '\0x\0' },
  enum64: { types: [1, info('ENUM64'), 8], strings: '\0e\0' },
  layout: { types: int(1), strings: '\0int\0', layout: true },
  argCtxTag: {
    types: [
      ...int(1),
      0,
      info('PTR'),
      0,
      0,
      info('FUNC_PROTO', 1),
      1,
      1,
      2,
      1,
      info('FUNC', 1),
      3,
      0,
      info('FUNC_PROTO', 1),
      1,
      3,
      2,
      3,
      info('FUNC', 1),
      5,
      5,
      info('DECL_TAG'),
      6,
      0,
    ],
    strings: '\0a\0b\0arg:ctx\0',
  },
};

/** The blob of a hand-made BTF. */
export function encodeProbeBtf(btf: ProbeBtf): Uint8Array {
  const strings = toUtf8(btf.strings);
  const typeBytes = btf.types.length * 4;
  const headerBytes = btf.layout === true ? 32 : 24;
  // Two kinds: void and INT, the latter with 4 bytes after its head (struct btf_layout: u16 info_sz, u8 elem_sz, u8 flags).
  const layout = btf.layout === true ? Uint8Array.of(0, 0, 0, 0, 4, 0, 0, 0) : new Uint8Array(0);
  const bytes = new Uint8Array(headerBytes + typeBytes + layout.length + strings.length);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 0xeb9f, true);
  view.setUint8(2, 1);
  [headerBytes, 0, typeBytes, typeBytes + layout.length, strings.length].forEach((word, i) => view.setUint32(4 + i * 4, word, true));
  if (btf.layout === true) {
    view.setUint32(24, typeBytes, true);
    view.setUint32(28, layout.length, true);
  }
  btf.types.forEach((word, i) => view.setInt32(headerBytes + i * 4, word, true));
  bytes.set(layout, headerBytes + typeBytes);
  bytes.set(strings, headerBytes + typeBytes + layout.length);
  return bytes;
}

/** Loads it; returns the descriptor or the negative errno. */
export function loadProbeBtf(sys: Sys, btf: ProbeBtf): number {
  const bytes = encodeProbeBtf(btf);
  return bpf(sys, 'BPF_BTF_LOAD', { btf: bytes, btf_size: bytes.length });
}
