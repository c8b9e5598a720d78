import type { Btf } from '../../btf/btf.ts';
import { RawbpfError, UnsupportedError, UsageError } from '../../error.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { rememberUsdtMaps } from '../link/usdt/specs.ts';
import type { BpfMap } from '../map/map.ts';
import { LinkSession } from '../object/link/session.ts';
import type { LinkedProgram } from '../object/linked.ts';
import type { ObjectSpec, ProgramSpec } from '../object/spec.ts';
import { functionOfProgram } from '../program/attach-target.ts';
import { loadBtf, type LoadedBtf } from '../program/btf.ts';
import { programDigest } from '../program/digest.ts';
import { createJumpTables } from '../program/jump-table.ts';
import { loadProgram, type ProgramContext } from '../program/load.ts';
import type { BpfProgram } from '../program/program.ts';
import { bpf } from '../../sys/bpf.ts';
import { type UndoList, undoOnError } from '../undo.ts';
import { Collection, type SkippedProgram } from './collection.ts';
import { createMaps, fillProgramSlots, type MapWorld, moduleBtfFd } from './maps.ts';
import { type LoadOptions, own, prepareSpec } from './options.ts';
import { StructOps } from './struct-ops.ts';

/**
 * Loads an object into the kernel: links its programs, makes and fills its maps, loads the programs, fills prog arrays. All
 * or nothing: where anything fails no map, program, pin or descriptor stays. The spec given is not changed and can be
 * loaded again.
 *
 * Throws LinkError where a program does not fit this kernel, VerifierError where the verifier refused one, SyscallError
 * where the kernel refused anything else, UsageError for options that name what is not there.
 *
 * @example
 * import { Kernel, loadCollection } from 'rawbpf';
 * import { openObject } from 'rawbpf/object';
 * import { readFileSync } from 'node:fs';
 * export function run(path: string, pid: number): void {
 *   const collection = loadCollection(new Kernel(), openObject(readFileSync(path)), { variables: { target_pid: pid } });
 *   try {
 *     collection.attach();
 *     console.log(collection.variable('count').get());
 *   } finally {
 *     collection.close();
 *   }
 * }
 */
export function loadCollection(kernel: Kernel, spec: ObjectSpec, options: LoadOptions = {}): Collection {
  checkByteOrder(spec);
  const prepared = prepareSpec(spec, options);
  const session = openSession(kernel, prepared, undefined, options.extraBtfs);
  if (session.error !== null) throw session.error;
  const { linked, skipped } = linkAll(kernel, session, options);
  return undoOnError((undo) => {
    const btf = loadObjectBtf(kernel, session);
    try {
      const world: MapWorld = { kernel, spec: prepared, options, session, btf, undo, exclusiveHashes: exclusiveHashes(options, linked) };
      const maps = createMaps(world);
      const programs = loadPrograms(world, maps, linked, skipped);
      rememberUsdtMaps(maps, programs.values());
      fillProgramSlots(prepared, maps, (name) => programs.get(name)?.fd ?? null);
      const structOps = session.structOps.flatMap((ops) => {
        const map = maps.get(ops.map);
        return map === undefined ? [] : [new StructOps(map, ops, programs)];
      });
      const borrowed = new Set(Object.keys(options.replaceMaps ?? {}));
      return new Collection(kernel, { spec: prepared, maps, programs, structOps, skipped, borrowed });
    } finally {
      // Maps and programs hold it themselves from now on.
      btf?.close();
    }
  });
}

/** By map: what says which program may use it. */
function exclusiveHashes(options: LoadOptions, linked: readonly LinkedProgram[]): Map<string, Uint8Array> {
  const hashes = new Map<string, Uint8Array>();
  for (const [map, name] of Object.entries(options.exclusiveMaps ?? {})) {
    const program = linked.find(({ spec }) => spec.name === name);
    if (program === undefined) {
      throw new UsageError({
        code: 'E_EXCLUSIVE',
        what: 'the one program that may use a map does not load',
        where: { map, program: name },
      });
    }
    hashes.set(map, programDigest(program.insns));
  }
  return hashes;
}

/** Throws E_BYTE_ORDER for an object of the other byte order: it can be inspected and relocated, not run. */
export function checkByteOrder(spec: ObjectSpec): void {
  if (spec.littleEndian) return;
  throw new UnsupportedError({
    code: 'E_BYTE_ORDER',
    what: 'a big-endian object cannot be loaded into this kernel',
    where: { object: spec.name },
    next: 'compile it with clang -target bpfel',
  });
}

/** Links for the running kernel; the .kconfig map's contents are put into the spec. */
export function openSession(
  kernel: Kernel,
  spec: ObjectSpec,
  programs?: ObjectSpec['programs'],
  extraBtfs: readonly Btf[] = [],
): LinkSession {
  const session = new LinkSession(spec, kernel.target(extraBtfs), {
    pageSize: kernel.pageSize,
    ...(programs === undefined ? {} : { programs }),
  });
  const kconfig = spec.maps.find(({ origin }) => origin === 'kconfig');
  if (kconfig !== undefined && session.kconfig !== null) kconfig.data = session.kconfig;
  return session;
}

function linkAll(kernel: Kernel, session: LinkSession, options: LoadOptions): { linked: LinkedProgram[]; skipped: SkippedProgram[] } {
  const linked: LinkedProgram[] = [];
  const skipped: SkippedProgram[] = [];
  for (const spec of session.programs) {
    const result = session.link(spec);
    if (result.ok) {
      linked.push(result.program);
      if (!kernel.traced) continue;
      for (const relocation of result.program.coreRelocations) kernel.trace({ step: 'relocation', program: spec.name, relocation });
    } else if (canSkip(kernel, spec, options, result.error)) {
      skipped.push({ spec, error: result.error });
    } else throw result.error;
  }
  return { linked, skipped };
}

function loadPrograms(
  world: MapWorld,
  maps: ReadonlyMap<string, BpfMap>,
  linked: readonly LinkedProgram[],
  skipped: SkippedProgram[],
): Map<string, BpfProgram> {
  const { kernel, options } = world;
  const programs = new Map<string, BpfProgram>();
  for (const one of linked) {
    try {
      programs.set(one.spec.name, loadOne(world, maps, one));
    } catch (error) {
      if (!(error instanceof RawbpfError) || !canSkip(kernel, one.spec, options, error)) throw error;
      skipped.push({ spec: one.spec, error });
    }
  }
  return programs;
}

/** Loads one program of an object whose maps are made. */
export function loadOne(world: MapWorld, maps: ReadonlyMap<string, BpfMap>, linked: LinkedProgram): BpfProgram {
  const { kernel, spec, btf, options, undo } = world;
  const tables = createJumpTables(kernel, linked);
  try {
    const attachTo = own(options.attachPrograms, linked.spec.name);
    const context: ProgramContext = {
      license: spec.license,
      kernVersion: spec.kernVersion,
      mapFd: (name) => mapFd(maps, linked, name),
      moduleFd: (name) => moduleBtfFd(kernel, name),
      jumpTableFd: (index) => tables[index]?.fd ?? -1,
      btf: spec.btf,
      btfFd: btf?.fd ?? -1,
      externNames: spec.externs.map(({ name }) => name),
      mapNames: spec.maps.map(({ name }) => name),
      ...(attachTo === undefined ? {} : attachTarget(attachTo, linked)),
      ...(options.logLevel === undefined ? {} : { logLevel: options.logLevel }),
    };
    const program = ownProgram(undo, loadProgram(kernel, linked, context));
    bindReadOnlyMaps(world, maps, program);
    return program;
  } finally {
    for (const table of tables) table.close();
  }
}

function attachTarget(target: BpfProgram, { spec }: LinkedProgram): Pick<ProgramContext, 'attachProgramFd' | 'attachProgramBtfId'> {
  if (spec.attachTo === null) return { attachProgramFd: target.fd };
  return { attachProgramFd: target.fd, attachProgramBtfId: functionOfProgram(target, spec.attachTo) };
}

function ownProgram(undo: UndoList, program: BpfProgram): BpfProgram {
  return undo.own(program);
}

function mapFd(maps: ReadonlyMap<string, BpfMap>, linked: LinkedProgram, name: string): number {
  const map = maps.get(name);
  if (map !== undefined) return map.fd;
  throw new UnsupportedError({
    code: 'E_MAP_ABSENT',
    what: 'a program uses a map that was not created',
    where: { program: linked.spec.name, map: name },
  });
}

/** Ties .rodata maps to a program that may not mention them, so that what they say about it stays with it (Linux 5.10). */
function bindReadOnlyMaps(world: MapWorld, maps: ReadonlyMap<string, BpfMap>, program: BpfProgram): void {
  for (const spec of world.spec.maps) {
    const map = spec.origin === 'rodata' ? maps.get(spec.name) : undefined;
    // Nothing depends on it: a kernel that cannot is as good.
    if (map !== undefined) bpf(world.kernel.sys, 'BPF_PROG_BIND_MAP', { prog_fd: program.fd, map_fd: map.fd });
  }
}

/** Whether loading goes on without a program, and tells so unless the program is optional. */
function canSkip(kernel: Kernel, program: ProgramSpec, options: LoadOptions, error: RawbpfError): boolean {
  if (options.optional?.(program) === true) return true;
  if (options.skipUnsupported !== true) return false;
  kernel.notice({ code: 'N_PROGRAM_SKIPPED', message: `program ${program.name} was left out: ${error.message}`, cause: error });
  return true;
}

/** The object's BTF in the kernel, with what its linked programs added to it. */
export function loadObjectBtf(kernel: Kernel, { btf, spec }: LinkSession): LoadedBtf | null {
  return btf === null ? null : loadBtf(kernel, btf, spec.name);
}
