export { FormatError, RawbpfError, UnsupportedError, UsageError, type ErrorParts, type ErrorPlace } from './error.ts';
export * from './bpf/index.ts';
export * from './bpf/events/index.ts';
export * from './enrich/index.ts';
export * from './gadget/index.ts';
export * from './output/index.ts';
export * from './sys/index.ts';
