export { Btf, type BtfOptions } from './btf.ts';
export { kindName } from './decode.ts';
export { parseBtfExt, type BtfExt, type BtfExtSection, type CoreRelo, type CoreReloSection } from './ext.ts';
export { btfExtFromElf, btfFromElf } from './from-elf.ts';
export type { BtfHeader } from './header.ts';
export { lineAt, linesOf, type LineRecord, type SourceLine } from './line.ts';
export {
  alignOf,
  isPacked,
  knownSizeOf,
  referencedId,
  resolveArray,
  sizeOf,
  skipModifiers,
  skipModifiersAndTypedefs,
  type ResolvedArray,
} from './resolve.ts';
export * from './types.ts';
export * from './value/index.ts';
