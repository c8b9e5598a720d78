import { UsageError } from '../../error.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { BpfProgram } from '../program/program.ts';
import { createLink } from './create.ts';
import { matchesGlob } from './glob.ts';
import { cookies } from './kprobe-multi.ts';
import type { BpfLink } from './link.ts';
import { noneFits, traceableNames } from './traceable.ts';

export interface TracingMultiOptions {
  /** What bpf_get_attach_cookie() answers in the program, wherever it fires. */
  readonly cookie?: bigint;
}

/**
 * Attaches a program to every traceable kernel function that fits a pattern, by trampolines and one link: for `fentry.multi`,
 * `fexit.multi` and `fsession.multi` programs. `module:pattern` means functions of a module, which the section has to name, too.
 *
 * Throws E_KPROBE where no function fits.
 */
export function attachTracingMulti(program: BpfProgram, pattern: string, options: TracingMultiOptions = {}): BpfLink {
  const colon = pattern.indexOf(':');
  const module = colon < 0 || pattern.startsWith('vmlinux:') ? '' : pattern.slice(0, colon);
  const loadedFor = program.linked?.attachBtfModule ?? '';
  if (module !== loadedFor) {
    throw new UsageError({
      code: 'E_ATTACH_MODULE',
      what: 'the program was loaded for functions of another module',
      where: { program: program.name, pattern, loaded_for: loadedFor === '' ? 'vmlinux' : loadedFor },
      next: 'name the module in the section: fentry.multi/module:pattern',
    });
  }
  const ids = functionIds(program.kernel, pattern.slice(colon + 1), module);
  if (ids.length === 0) throw noneFits(program.kernel, pattern);
  return createLink(
    program,
    program.expectedAttachType,
    { kind: 'tracing_multi', target: pattern },
    {
      'tracing_multi.ids': new Uint8Array(new Uint32Array(ids).buffer),
      'tracing_multi.cnt': ids.length,
      ...(options.cookie === undefined ? {} : { 'tracing_multi.cookies': cookies(options.cookie, ids.length) }),
    },
  );
}

/** The BTF ids of the functions that ftrace can trace and that fit; of several of one name the first. */
function functionIds(kernel: Kernel, pattern: string, module: string): number[] {
  const btf = module === '' ? kernel.vmlinuxBtf() : (kernel.moduleBtfs().find(({ name }) => name === module)?.btf ?? null);
  if (btf === null) return [];
  const names = traceableNames(kernel, pattern, module);
  const found = new Map<string, number>();
  for (let id = btf.firstId; id < btf.typeCount; id++) {
    const name = btf.nameOf(id);
    if (found.has(name) || !(names?.has(name) ?? matchesGlob(pattern, name))) continue;
    if (btf.type(id).kind === 'FUNC') found.set(name, id);
  }
  return [...found.values()];
}
