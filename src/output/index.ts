export { ColumnsWriter, visibleFields, type ColumnsOptions } from './columns.ts';
export { compileFilter, type Predicate } from './filter.ts';
export { ByteWriter } from './byte-writer.ts';
export { JsonWriter, type JsonOptions } from './json.ts';
export { EventOutput, OUTPUT_MODES, type OutputMode, type OutputOptions, type OutputTarget } from './output.ts';
export { selectFields } from './select.ts';
export { arrange, compileSorting, type Sorting } from './sort.ts';
export { YamlWriter } from './yaml.ts';
