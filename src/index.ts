export { FormatError, RawbpfError, UnsupportedError, UsageError, type ErrorParts, type ErrorPlace } from './error.ts';
export { SyscallError } from './sys/errno.ts';
export * from './bpf/index.ts';
