import { toCString } from '../../bytes/text.ts';
import { UsageError } from '../../error.ts';
import type { BpfProgram } from '../program/program.ts';
import { readBinary, resolveBinary } from './binary.ts';
import { createLink } from './create.ts';
import { functionOffset, functionsOf } from './function-offsets.ts';
import { isGlob, matchesGlob } from './glob.ts';
import { isReturnSection } from './kprobe.ts';
import { cookies } from './kprobe-multi.ts';
import type { BpfLink } from './link.ts';

export interface UprobeMultiOptions {
  /** Fires when the functions return; else what the program's section says. */
  readonly ret?: boolean;
  /** One process; all, those to come too, unless said. */
  readonly pid?: number;
  /** What bpf_get_attach_cookie() answers in the program, wherever it fires. */
  readonly cookie?: bigint;
}

const BPF_F_UPROBE_MULTI_RETURN = 1;

/**
 * Attaches a program to every function of a program or library that fits a pattern (`libc.so.6:str*`) at once, by one link
 * (Linux 6.6): for `uprobe.multi`, `uretprobe.multi` and `uprobe.session` programs.
 *
 * Throws E_BINARY or E_SYMBOL where there is no such file, or no function in it that fits.
 */
export function attachUprobeMulti(program: BpfProgram, target: string, options: UprobeMultiOptions = {}): BpfLink {
  // The path may hold colons; what follows the last one is the pattern.
  const colon = target.lastIndexOf(':');
  const pattern = target.slice(colon + 1);
  if (colon < 1 || pattern === '') {
    throw new UsageError({
      code: 'E_UPROBE_TARGET',
      what: 'not functions of a program',
      where: { target },
      next: 'write them as path:pattern',
    });
  }
  const path = resolveBinary(target.slice(0, colon));
  const offsets = isGlob(pattern) ? fittingOffsets(path, pattern) : [functionOffset(path, pattern)];
  const ret = options.ret ?? isReturnSection(program, 'uretprobe.multi');
  return createLink(
    program,
    program.expectedAttachType,
    { kind: 'uprobe_multi', target },
    {
      'uprobe_multi.path': toCString(path),
      'uprobe_multi.offsets': new Uint8Array(new BigUint64Array(offsets.map(BigInt)).buffer),
      'uprobe_multi.cnt': offsets.length,
      'uprobe_multi.flags': ret ? BPF_F_UPROBE_MULTI_RETURN : 0,
      'uprobe_multi.pid': options.pid ?? 0,
      ...(options.cookie === undefined ? {} : { 'uprobe_multi.cookies': cookies(options.cookie, offsets.length) }),
    },
  );
}

/** The file offsets of the functions of an ELF file that fit, each once: names may be aliases. */
function fittingOffsets(path: string, pattern: string): number[] {
  const offsets = new Set<number>();
  for (const { name, offset } of functionsOf(readBinary(path))) if (matchesGlob(pattern, name)) offsets.add(offset);
  if (offsets.size > 0) return [...offsets];
  throw new UsageError({
    code: 'E_SYMBOL',
    what: 'the file has no function that fits',
    where: { path, pattern },
    next: 'readelf --syms --wide shows its functions; * and ? stand for any characters and any one',
  });
}
