export { tryPrograms, tryProgramsAsync, type MapVerdict, type ObjectVerdict } from './collection/check.ts';
export { Collection, type AttachAllOptions, type SkippedProgram } from './collection/collection.ts';
export { loadCollection, loadCollectionAsync } from './collection/load.ts';
export { setVariable, type LoadOptions } from './collection/options.ts';
export { StructOps } from './collection/struct-ops.ts';
export { BpfVariable } from './collection/variables.ts';
export type { ProgramVerdict, TryOptions } from './collection/verdict.ts';
export { attachSupport, type AttachSupport } from './features/attach-kinds.ts';
export { hasHelper, helperNames, helpersOf, type HelperName } from './features/helpers.ts';
export { hasMapType, mapTypes, type MapTypeName } from './features/map-types.ts';
export { hasProgramType, programTypes } from './features/program-types.ts';
export { kernelFeatures, type FeatureOptions, type FeatureReport } from './features/report.ts';
export { ids, type IdKind } from './ids.ts';
export type { KernelFeature } from './kernel/features.ts';
export type { Kallsyms, KernelSymbol } from './kernel/kallsyms.ts';
export type { KernelConfig } from './kernel/kconfig.ts';
export { defaultKernel, Kernel, type BufferChoice, type KernelOptions } from './kernel/kernel.ts';
export type { Notice, NoticeListener } from './kernel/notice.ts';
export type { TraceEvent, TraceListener } from './kernel/trace.ts';
export { attachProgram, type AttachOptions } from './link/attach.ts';
export type { LinkInfo } from './link/info.ts';
export { attachCgroup, type CgroupOptions } from './link/cgroup.ts';
export { attachKprobe, attachKsyscall, type KprobeOptions } from './link/kprobe.ts';
export { attachKprobeMulti, type KprobeMultiOptions } from './link/kprobe-multi.ts';
export {
  attachLirc,
  attachNetfilter,
  attachNetkit,
  attachNetns,
  attachSockmap,
  attachTcx,
  type NetfilterOptions,
  type SockmapOptions,
  type TcxOptions,
} from './link/net.ts';
export type { Device } from './link/device.ts';
export type { Neighbour, OrderOptions } from './link/order.ts';
export { queryAttached, type AttachedPrograms, type QueryTarget } from './link/query.ts';
export { attachXdp, type XdpMode, type XdpOptions } from './link/xdp.ts';
export { listUnlinked, sweepUnlinked, type Unlinked } from './link/unlinked/list.ts';
export { listLinks, openLinkById, openPinnedLink } from './link/open.ts';
export { attachPerfEvent, PerfEventLinks, type PerfEventName, type PerfEventOptions } from './link/perf-event.ts';
export { attachSocket } from './link/socket.ts';
export { attachTc, type TcOptions } from './link/tc.ts';
export { attachTracingMulti, type TracingMultiOptions } from './link/tracing-multi.ts';
export { attachUprobe, type UprobeOptions } from './link/uprobe.ts';
export { attachUprobeMulti, type UprobeMultiOptions } from './link/uprobe-multi.ts';
export { listUsdtProbes, type UsdtTarget } from './link/usdt/probes.ts';
export { attachUsdt, type UsdtOptions } from './link/usdt/usdt.ts';
export { listPrograms, openPinnedProgram, openProgramByFd, openProgramById } from './program/open.ts';
export { enableStats } from './program/stats.ts';
export { readProgramStream, type ProgramStream } from './program/stream.ts';
export { attachIter, IterLink, type IterOptions } from './link/iter.ts';
export { Attachment } from './link/attachment.ts';
export { KernelLink, LinkGroup, type BpfLink, type LinkKind } from './link/link.ts';
export { attachTracepoint, listTracepoints, type TracepointOptions } from './link/tracepoint.ts';
export { attachRawTracepoint, attachTracing, listRawTracepoints, type TracingOptions } from './link/tracing.ts';
export type { BatchEntries, MapBatch } from './map/batch.ts';
export { createMap, type MapBtf, type MapOptions } from './map/create.ts';
export type { MapInfo } from './map/info.ts';
export { BpfMap, type MapTypes, type UpdateMode, type UpdateOptions } from './map/map.ts';
export type { MapShape } from './map/shape.ts';
export type { MappedMap } from './map/memory.ts';
export { listMaps, openMapByFd, openMapById, openPinnedMap } from './map/open.ts';
export type { TypedMap, ValueCodec } from './map/typed.ts';
export { unpin } from './pin.ts';
export { BpfToken, createToken } from './token.ts';
export type { ProgramInfo } from './program/info.ts';
export { loadProgram, type ProgramContext } from './program/load.ts';
export { BpfProgram } from './program/program.ts';
export type { TestRunOptions, TestRunResult } from './program/test-run.ts';
export { VerifierError, type VerifierErrorParts } from './verifier/error.ts';
export { hintFor } from './verifier/hint.ts';
export { parseVerifierLog, type LogSource, type VerifierFailure } from './verifier/log.ts';
export { encodeLoader, parseLoader, type LoaderFile } from './loader-program/file.ts';
export { makeLoader, type LoaderEntry, type LoaderMap, type LoaderOptions, type LoaderProgram } from './loader-program/make.ts';
export { runLoader, type LoadedByLoader, type RunLoaderOptions } from './loader-program/run.ts';
export { signLoader, type SignedLoader } from './loader-program/sign.ts';
