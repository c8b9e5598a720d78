import type { Collection } from '../bpf/collection/collection.ts';
import { attachIter, type IterLink } from '../bpf/link/iter.ts';
import type { BpfMap } from '../bpf/map/map.ts';
import { FormatError } from '../error.ts';
import { errnoName } from '../sys/errno.ts';
import { possibleCpus } from '../sys/cpus.ts';
import type { GadgetContract, IteratorDeclaration, MapIteratorDeclaration } from './contract.ts';
import { cpuOffset, valueOffset, type DataSource } from './data-source.ts';
import { parseInterval } from './interval.ts';
import type { EventRecord } from './record.ts';

/** How often batches are fetched where neither the user nor gadget.yaml says. */
const mapIntervalMs = 1000;
/** Entries taken out of a map in one call. */
const mapPiece = 256;

/** A data source whose events come many at a time, when they are asked for. */
export interface BatchSource {
  readonly source: DataSource;
  readonly record: EventRecord;
  /** All records there are now, one behind the other. */
  readonly read: () => Uint8Array;
  /** Milliseconds between fetches. */
  readonly intervalMs: number;
  /** Fetches still to make; infinite for one that goes on until it is stopped. */
  remaining: number;
  /** Whether a last fetch is made when the run is stopped. */
  readonly fetchOnStop: boolean;
}

/** What the user says about fetching; gadget.yaml's `fetch-interval` and `fetch-count` otherwise. */
export interface FetchOptions {
  readonly intervalMs?: number;
  readonly fetchCount?: number;
  /** Milliseconds and counts for single data sources, by their names: before those for all. */
  readonly intervalsMs?: ReadonlyMap<string, number>;
  readonly fetchCounts?: ReadonlyMap<string, number>;
}

/** Attaches an iterator's programs; null where none of them was loaded. Without an interval it is run once. */
export function openIterator(
  collection: Collection,
  contract: GadgetContract,
  declaration: IteratorDeclaration,
  source: DataSource,
  options: FetchOptions,
  notice: (message: string) => void,
): BatchSource | null {
  const links = declaration.programs.flatMap((name) => {
    const program = collection.programs.get(name);
    // Left out when the object was loaded, and told then.
    if (program === undefined) return [];
    const target = contract.iteratorTargets.find((candidate) => candidate.program === name);
    return [
      collection.addLink(
        attachIter(program, program.spec?.attachTo ?? '', target === undefined ? {} : { map: collection.map(target.map) }),
      ),
    ];
  });
  if (links.length === 0) return null;
  const intervalMs = intervalOf(source, options);
  const told = new Set<number>();
  // Told once, however often it is read.
  const unreachable: Unreachable = ({ inode, path }, errno) => {
    if (told.has(inode)) return;
    told.add(inode);
    notice(`sockets of network namespace ${inode} (${path}) are not shown: it cannot be entered (${errnoName(errno)})`);
  };
  return {
    source,
    record: source.makeRecord(),
    read: () => joined(links.map((link) => wholeRecords(readEverywhere(link, unreachable), source))),
    intervalMs: intervalMs ?? 0,
    remaining: countOf(source, options) ?? (intervalMs === null ? 1 : Number.POSITIVE_INFINITY),
    fetchOnStop: source.annotations.get('ebpf.iter.fetch-on-stop') === 'true',
  };
}

type Unreachable = Parameters<IterLink['readInEachNetworkNamespace']>[0];

/** Sockets are listed for one network namespace at a time. */
function readEverywhere(link: IterLink, unreachable: Unreachable): Uint8Array {
  return link.isPerNetworkNamespace ? link.readInEachNetworkNamespace(unreachable) : link.read();
}

/** Gets ready to take the entries of a map out again and again. */
export function openMapIterator(
  collection: Collection,
  declaration: MapIteratorDeclaration,
  source: DataSource,
  options: FetchOptions,
): BatchSource {
  const map = collection.map(declaration.map);
  return {
    source,
    record: source.makeRecord(),
    read: () => (declaration.perCpu ? takeCpuEntries(map, source.size) : takeEntries(map, source.size)),
    intervalMs: intervalOf(source, options) ?? mapIntervalMs,
    remaining: countOf(source, options) ?? Number.POSITIVE_INFINITY,
    fetchOnStop: source.annotations.get('ebpf.map.flush-on-stop') === 'true',
  };
}

/** Takes every entry out of a map: key, padding, value. */
function takeEntries(map: BpfMap, size: number): Uint8Array {
  const at = valueOffset(map.keySize);
  const parts: Uint8Array[] = [];
  for (const { keys, values } of map.batch.lookupAndDelete(mapPiece)) {
    const part = new Uint8Array(keys.length * size);
    for (const [i, key] of keys.entries()) {
      part.set(key, i * size);
      part.set(values[i] as Uint8Array, i * size + at);
    }
    parts.push(part);
  }
  return joined(parts);
}

/** Takes every entry out of a map with values for each CPU: a record for each CPU that has any, with its number behind. */
function takeCpuEntries(map: BpfMap, size: number): Uint8Array {
  const at = valueOffset(map.keySize);
  const cpuAt = cpuOffset(at, map.valueSize);
  const slot = Math.ceil(map.valueSize / 8) * 8;
  const cpus = possibleCpus();
  const parts: Uint8Array[] = [];
  for (const { keys, values } of map.batch.lookupAndDelete(mapPiece)) {
    for (const [i, key] of keys.entries()) {
      for (const [index, cpu] of cpus.entries()) {
        const value = (values[i] as Uint8Array).subarray(index * slot, index * slot + map.valueSize);
        // The kernel zeroes the values of CPUs that have not set any.
        if (value.every((byte) => byte === 0)) continue;
        const part = new Uint8Array(size);
        part.set(key);
        part.set(value, at);
        new DataView(part.buffer).setUint32(cpuAt, cpu, true);
        parts.push(part);
      }
    }
  }
  return joined(parts);
}

function wholeRecords(bytes: Uint8Array, source: DataSource): Uint8Array {
  if (bytes.length % source.size === 0) return bytes;
  throw new FormatError({
    code: 'E_GADGET_EVENT',
    what: 'an iterator wrote something other than its structs',
    where: { 'data source': source.name, struct: source.structName, size: source.size, length: bytes.length },
  });
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  return parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts);
}

/** 0 means once. */
function intervalOf(source: DataSource, options: FetchOptions): number | null {
  const own = parseInterval(source.annotations.get('fetch-interval') ?? '');
  return options.intervalsMs?.get(source.name) ?? options.intervalMs ?? (own === null || own === 0 ? null : own);
}

/** 0 means without end. */
function countOf(source: DataSource, options: FetchOptions): number | null {
  const own = Number(source.annotations.get('fetch-count') ?? 0);
  const count = options.fetchCounts?.get(source.name) ?? options.fetchCount ?? (Number.isInteger(own) && own > 0 ? own : null);
  return count === 0 ? Number.POSITIVE_INFINITY : count;
}
