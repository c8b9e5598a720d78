export { Btf, type BtfOptions } from './btf.ts';
export { BtfBuilder, type BtfEncodeOptions, type BtfNewType } from './builder.ts';
export { kindName } from './decode.ts';
export { dedupBtf, type DedupedBtf } from './dedup.ts';
export { distillBase, type DistilledBtf } from './distill.ts';
export { swapBtf, swapBtfExt } from './endian.ts';
export { parseBtfExt, type BtfExt, type BtfExtSection, type CoreRelo, type CoreReloSection } from './ext.ts';
export { fixupDatasecs } from './fixup.ts';
export { btfExtFromElf, btfFromElf } from './from-elf.ts';
export type { BtfHeader } from './header.ts';
export { lineAt, linesOf, type LineRecord, type SourceLine } from './line.ts';
export { permuteBtf, type PermutedBtf } from './permute.ts';
export { relocateBtf } from './relocate.ts';
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
export { allBtfFeatures, sanitizeBtf, type BtfFeatures } from './sanitize.ts';
export * from './types.ts';
export * from './declare/index.ts';
export * from './dump/index.ts';
export * from './value/index.ts';
export type { CoreCandidate, CoreTargets } from './core/candidates.ts';
export { CoreError } from './core/error.ts';
export { essentialName } from './core/essential-name.ts';
export { CORE_KIND, coreKindName } from './core/kinds.ts';
export { type CandidateReport, CoreResolution } from './core/resolution.ts';
export { CoreResolver } from './core/resolver.ts';
export { type MinimizeObject, minimizeBtf } from './min/minimize.ts';
