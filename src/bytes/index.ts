export { Cursor, type CursorOptions } from './cursor.ts';
export {
  struct,
  StructLayout,
  type AddressOf,
  type FieldRow,
  type FieldType,
  type FieldValue,
  type ScalarType,
  type StructField,
  type StructValues,
} from './struct.ts';
export { plainBytes } from './plain.ts';
export { cString, fromHex, toCString, toHex, toUtf8 } from './text.ts';
