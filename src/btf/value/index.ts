export { buildDecoder, completeView, type Decoder } from './decoder.ts';
export { encodeValue } from './encode.ts';
export { enumNames, type EnumNames } from './enums.ts';
export { fieldReader, fieldsOf, type FlatField } from './fields.ts';
export { type ArrayReader, type NullReader, type ObjectReader, type ReadOptions, type ValueReader } from './reader.ts';
export { resolveType, sizeOfType, typeNamesOf, type ResolvedType } from './resolve.ts';
export { type BigintReader, type BoolReader, type NumberReader } from './scalar.ts';
export { type BytesReader, type TextReader } from './text.ts';
