export { ColumnBatch, type Column, type ColumnOptions, type ColumnValues } from './columns.ts';
export type {
  BootClock,
  ContainerFields,
  ContainerNames,
  EndpointName,
  EndpointNames,
  EpochTime,
  EventContext,
  IdNames,
} from './context.ts';
export {
  discoverGadget,
  GADGET_NAMES,
  type GadgetContract,
  type IteratorDeclaration,
  type MapIteratorDeclaration,
  type ParamDeclaration,
  type TargetMapDeclaration,
  type TracerDeclaration,
} from './contract.ts';
export { buildDataSource, DataSource, type SourceKind, type SourceParts } from './data-source.ts';
export { Field, type FieldKind } from './field.ts';
export { noMetadata, parseMetadata, type GadgetMetadata, type ParamMetadata, type ProgramMetadata } from './metadata.ts';
export { describeParam, GadgetParams, type GadgetParam, type ParamTypeHint, type ParamValue } from './params.ts';
export type { PartLoad, RunPart, Verdict } from './part.ts';
export type { EventValue } from './read.ts';
export { compilePacketFilter } from './packet-filter/compile.ts';
export { EventRecord } from './record.ts';
export type { SourceAnnotations } from './source-builder.ts';
export type { EventObject } from './tree.ts';
export { openGadget, type Gadget, type GadgetParts } from './gadget.ts';
export { RecordList } from './record-list.ts';
export { GadgetRun } from './run.ts';
export { misfitsText, type Misfits } from './misfits.ts';
export { missedRunsText, type MissedRuns } from './missed-runs.ts';
export type { EventSink, RunCounters, RunOptions, RunResult, StopReason } from './run-options.ts';
export { eventStream, type EventStreamOptions } from './stream.ts';
