import type { SourceLine } from '../../btf/line.ts';
import { type ErrorPlace, RawbpfError } from '../../error.ts';
import type { AppliedCoreRelocation } from '../object/linked.ts';
import { POISON_KFUNC, POISON_MAP } from '../object/link/patch.ts';
import { hintFor } from './hint.ts';
import { parseVerifierLog, type VerifierFailure } from './log.ts';

/** The call that CO-RE puts where a relocation found no target (libbpf's marker, 0xbad2310). */
export const CORE_POISON_CALL = 195896080;

/** What a {@link VerifierError} is made from. */
export interface VerifierErrorParts {
  readonly program: string;
  readonly section: string;
  readonly errno: number;
  /** The whole log. */
  readonly log: string;
  /** The C line of an instruction, where the object has line info. */
  readonly sourceLine?: (insn: number) => SourceLine | null;
  readonly coreRelocations?: readonly AppliedCoreRelocation[];
  /** Names of the object's externs and maps in its order: calls to weak functions that are missing, and uses of maps that were not made, name their place. */
  readonly externs?: readonly string[];
  readonly maps?: readonly string[];
}

/**
 * The kernel's verifier refused a program: `program`, `insn`, the C `source` line, the `registers` before it, the
 * kernel's one-line `why` and what to do `next`. `log` is the whole log, never cut.
 *
 * @example
 * import { VerifierError } from 'rawbpf';
 * const error = new VerifierError({ program: 'main', section: 'xdp', errno: 13, log: '0: (95) exit\nR0 !read_ok\n' });
 * console.log(error.code, error.insn, error.why); // E_VERIFIER 0 R0 !read_ok
 */
export class VerifierError extends RawbpfError {
  readonly program: string;
  readonly errno: number;
  /** The whole verifier log. */
  readonly log: string;
  readonly failure: VerifierFailure;
  /** The refused instruction, in 8-byte slots; null where the log names none. */
  readonly insn: number | null;
  readonly source: SourceLine | null;
  /** Register state before the refused instruction, as far as the log printed it. */
  readonly registers: ReadonlyMap<string, string>;

  constructor(parts: VerifierErrorParts) {
    const failure = parseVerifierLog(parts.log);
    const poisoned = poisonOf(failure, parts);
    const source = (failure.insn === null ? null : parts.sourceLine?.(failure.insn)) ?? fromLog(failure);
    const why = poisoned?.why ?? (failure.reason || `the verifier gave no reason (errno ${parts.errno})`);
    const next = poisoned?.next ?? hintFor(`${failure.reason}; ${failure.headline ?? ''}`) ?? failure.suggestion;
    super({
      code: poisoned === null ? 'E_VERIFIER' : poisoned.code,
      what: `the kernel's verifier refused program ${parts.program}`,
      where: place(parts, failure, source),
      why: firstDetail(why, failure),
      ...(next === null ? {} : { next }),
    });
    this.program = parts.program;
    this.errno = parts.errno;
    this.log = parts.log;
    this.failure = failure;
    this.insn = failure.insn;
    this.source = source;
    this.registers = failure.registers;
  }
}

function firstDetail(why: string, failure: VerifierFailure): string {
  // The newer kernels' own sentence says more than the terse line; keep both.
  return failure.explanation === null ? why : `${why} (${failure.explanation})`;
}

function place(parts: VerifierErrorParts, failure: VerifierFailure, source: SourceLine | null): ErrorPlace {
  const where: Record<string, string | number> = { section: parts.section };
  if (failure.insn !== null) where['instruction'] = failure.insn;
  if (failure.insnText !== null) where['code'] = failure.insnText;
  if (source !== null) {
    where['line'] = source.line > 0 ? `${source.file}:${source.line}` : source.file;
    // A line of a macro may be one long row of tabs.
    where['source'] = source.text.replaceAll(/\s+/g, ' ');
  }
  const states = failure.involved.flatMap((name) => {
    const state = failure.registers.get(name);
    return state === undefined ? [] : [`${name}=${state}`];
  });
  if (states.length > 0) where['registers'] = states.join(' ');
  return where;
}

function fromLog(failure: VerifierFailure): SourceLine | null {
  if (failure.source === null) return null;
  return { file: failure.source.file ?? '', line: failure.source.line ?? 0, column: 0, text: failure.source.text };
}

interface Poison {
  readonly code: string;
  readonly why: string;
  readonly next: string;
}

function poisonOf(failure: VerifierFailure, parts: VerifierErrorParts): Poison | null {
  const text = `${failure.insnText ?? ''} ${failure.reason}`;
  if (!text.includes(String(CORE_POISON_CALL))) return placePoison(text, parts);
  const relo = parts.coreRelocations?.find((candidate) => candidate.poisoned && candidate.insn === failure.insn);
  if (relo !== undefined && relo.target !== null) {
    return {
      code: 'E_CORE_POISONED',
      why: `CO-RE relocation ${relo.local} is ${relo.target} in this kernel: ${relo.reason ?? 'another size'}`,
      next: 'read it with bpf_core_read() and bpf_core_field_size(), or declare it unsigned or as a pointer, as the kernel has it',
    };
  }
  const subject =
    relo === undefined ? 'a CO-RE relocation found nothing' : `CO-RE relocation ${relo.kind} found nothing that fits ${relo.local}`;
  return {
    code: 'E_CORE_POISONED',
    why: `${subject} in this kernel's BTF${relo === undefined || relo.reason === null ? '' : `: ${relo.reason}`}`,
    next: 'guard the access with bpf_core_field_exists(), bpf_core_type_exists() or bpf_core_enum_value_exists(), or give the name that this kernel uses',
  };
}

/** Calls whose number is a place in a list: weak functions that this kernel has not got, maps that were not made. */
function placePoison(text: string, parts: VerifierErrorParts): Poison | null {
  const call = Number(/\bunknown#(20\d{8})\b/.exec(text)?.[1] ?? 0);
  const extern = parts.externs?.[call - POISON_KFUNC];
  if (extern !== undefined) {
    return {
      code: 'E_EXTERN_MISSING',
      why: `this kernel has no function ${extern}, which is declared __weak, and the program may call it`,
      next: `call it only where it is there: if (bpf_ksym_exists(${extern}))`,
    };
  }
  const map = parts.maps?.[call - POISON_MAP];
  if (map === undefined) return null;
  return {
    code: 'E_MAP_NOT_CREATED',
    why: `map ${map} was not created (autocreate is false), and the program uses it`,
    next: 'let it be created, or keep the programs that use it from loading',
  };
}
