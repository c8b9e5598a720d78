export { EventSource, type EventCounters, type RecordsOptions, type TurnOptions } from './event-source.ts';
export { PerfReader, type PerfReaderOptions } from './perf-reader.ts';
export type { UnsafeBlockVisitor, UnsafeVisitor } from './record-block.ts';
export { RecordCursor } from './record-cursor.ts';
export { RingbufReader, type RingbufReaderOptions } from './ringbuf-reader.ts';
export { UserRingbuf, type ReserveOptions, type UserRingbufSample } from './user-ringbuf.ts';
