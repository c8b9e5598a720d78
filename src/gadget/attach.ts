import type { Collection } from '../bpf/collection/collection.ts';
import { attachProgram } from '../bpf/link/attach.ts';
import { attachSockmap } from '../bpf/link/net.ts';
import type { BpfProgram } from '../bpf/program/program.ts';
import { BPF_PROG_TYPE } from '../bpf/uapi/index.ts';
import { RawbpfError, UnsupportedError } from '../error.ts';
import { Alternatives } from './alternatives.ts';
import { printable } from '../bytes/printable.ts';
import type { Gadget } from './gadget.ts';
import { LibraryProbes, libraryTarget } from './library-probes.ts';
import { attachProfiler, programMetadata } from './profiler.ts';

/** What gadget.yaml says instead of a target to leave a program alone. */
const disabledTarget = 'gadget_program_disabled';

/** How {@link attachPrograms} goes about it. */
export interface AttachPlan {
  readonly skipUnsupported: boolean;
  /** Programs that are not attached here: those of iterators. */
  readonly except: ReadonlySet<string>;
  readonly notice: (message: string) => void;
  /** The process whose libraries uprobes are for; null for those of the machine. */
  readonly pid?: number | null;
}

/**
 * Attaches a gadget's programs where their sections, or gadget.yaml, say; the links become the collection's. Returns how many
 * were attached.
 *
 * Throws UnsupportedError `E_GADGET_ATTACH` that names the program and the reason.
 */
export function attachPrograms(gadget: Gadget, collection: Collection, plan: AttachPlan): number {
  let attached = 0;
  const alternatives = new Alternatives(gadget);
  const libraries = new LibraryProbes(plan.pid ?? null);
  for (const { spec, error } of collection.skipped) alternatives.refuse(spec.name, error);
  for (const program of collection.programs.values()) {
    if (plan.except.has(program.name) || program.spec?.autoattach === false) continue;
    if (alternatives.chosenInsteadOf(program.name) !== null) continue;
    const settings = programMetadata(gadget.metadata, program);
    const target = settings?.attachTo ?? null;
    if (target === disabledTarget) continue;
    try {
      if (program.type === BPF_PROG_TYPE.BPF_PROG_TYPE_SK_SKB || program.type === BPF_PROG_TYPE.BPF_PROG_TYPE_SK_MSG) {
        attached += attachToSocketMaps(gadget, collection, program, plan);
        continue;
      }
      const inLibrary = program.spec?.section?.attach === 'uprobe' ? libraryTarget(target ?? program.spec.attachTo ?? '') : null;
      if (inLibrary !== null) {
        const links = libraries.attach(program, inLibrary.library, inLibrary.name);
        for (const link of links) collection.addLink(link);
        if (links.length > 0) alternatives.choose(program.name);
        attached += links.length;
        continue;
      }
      const isProfiler = program.type === BPF_PROG_TYPE.BPF_PROG_TYPE_PERF_EVENT;
      const link = isProfiler ? attachProfiler(program, settings) : attachProgram(program, target === null ? {} : { target });
      if (link === null && isProfiler)
        plan.notice(
          `program ${program.name} is loaded but not attached: gadget.yaml has no programs.${program.name}.perf to say to which event`,
        );
      else if (link === null)
        plan.notice(`program ${program.name} is loaded but not attached: its section ${program.spec?.sectionName ?? ''} names no target`);
      else {
        collection.addLink(link);
        alternatives.choose(program.name);
        attached++;
      }
    } catch (error) {
      if (!(error instanceof RawbpfError)) throw error;
      if (alternatives.refuse(program.name, error)) continue;
      if (!plan.skipUnsupported) throw attachError(gadget, program.name, error);
      plan.notice(`program ${program.name} was not attached: ${error.message}`);
    }
  }
  libraries.check(plan.skipUnsupported, plan.notice);
  alternatives.check(plan.skipUnsupported, plan.notice);
  return attached;
}

/** GADGET_SK_TARGET_MAP says to which maps of sockets. */
function attachToSocketMaps(gadget: Gadget, collection: Collection, program: BpfProgram, plan: AttachPlan): number {
  const targets = gadget.contract.socketTargets.filter((target) => target.program === program.name);
  for (const { map } of targets) collection.addLink(attachSockmap(program, collection.map(map)));
  if (targets.length === 0) plan.notice(`program ${program.name} is loaded but not attached: no GADGET_SK_TARGET_MAP names a map for it`);
  return targets.length;
}

function attachError(gadget: Gadget, program: string, error: RawbpfError): UnsupportedError {
  return new UnsupportedError({
    code: 'E_GADGET_ATTACH',
    what: `program ${printable(program)} of the gadget ${gadget.name} cannot be attached`,
    why: error.message,
    next: '--skip-unsupported goes on without such programs',
    cause: error,
  });
}
