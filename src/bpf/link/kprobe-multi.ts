import type { KernelSymbol } from '../kernel/kallsyms.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { BpfProgram } from '../program/program.ts';
import { createLink } from './create.ts';
import { matchesGlob } from './glob.ts';
import { isReturnSection } from './kprobe.ts';
import type { BpfLink } from './link.ts';
import { noneFits, traceableNames } from './traceable.ts';

export interface KprobeMultiOptions {
  /** Fires when the functions return; else what the program's section says. */
  readonly ret?: boolean;
  /** What bpf_get_attach_cookie() answers in the program, wherever it fires. */
  readonly cookie?: bigint;
}

const BPF_F_KPROBE_MULTI_RETURN = 1;

/**
 * Attaches a program to every traceable kernel function that fits a pattern (`tcp_*`) at once, by one link (Linux 5.18): for
 * `kprobe.multi`, `kretprobe.multi` and `kprobe.session` programs.
 *
 * Throws E_KPROBE with near names where no function fits.
 */
export function attachKprobeMulti(program: BpfProgram, pattern: string, options: KprobeMultiOptions = {}): BpfLink {
  const addresses = traceableFunctions(program.kernel, pattern);
  const addrs = new BigUint64Array(addresses);
  const ret = options.ret ?? isReturnSection(program, 'kretprobe.multi');
  return createLink(
    program,
    program.expectedAttachType,
    { kind: 'kprobe_multi', target: pattern },
    {
      'kprobe_multi.flags': ret ? BPF_F_KPROBE_MULTI_RETURN : 0,
      'kprobe_multi.cnt': addrs.length,
      'kprobe_multi.addrs': new Uint8Array(addrs.buffer),
      ...(options.cookie === undefined ? {} : { 'kprobe_multi.cookies': cookies(options.cookie, addrs.length) }),
    },
  );
}

/** The same cookie for each place. */
export function cookies(cookie: bigint, count: number): Uint8Array {
  return new Uint8Array(new BigUint64Array(count).fill(cookie).buffer);
}

/** The addresses of the functions that ftrace can trace and that fit a pattern. */
function traceableFunctions(kernel: Kernel, pattern: string): bigint[] {
  const names = traceableNames(kernel, pattern);
  const addresses = new Set<bigint>();
  for (const { type, address } of symbolsOf(kernel, pattern, names)) if (/[tw]/i.test(type)) addresses.add(address);
  if (addresses.size > 0) return [...addresses];
  throw noneFits(kernel, pattern);
}

/** From here on, reading all symbols once is less work than looking for each name. */
const MANY = 20;

function symbolsOf(kernel: Kernel, pattern: string, names: ReadonlySet<string> | null): Iterable<KernelSymbol> {
  const symbols = kernel.kallsyms();
  // Without the list of traceable functions the kernel says which of them it can trace.
  if (names === null) return symbols.all((name) => matchesGlob(pattern, name));
  return names.size < MANY ? [...names].flatMap((name) => [...symbols.find(name)]) : symbols.all((name) => names.has(name));
}
