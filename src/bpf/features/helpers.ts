import { asm } from '../insn/asm.ts';
import { BPF_FUNC } from '../uapi/func.gen.ts';
import { BPF_PROG_TYPE } from '../uapi/prog-type.gen.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { attemptLoad } from './program-types.ts';

export type HelperName = keyof typeof BPF_FUNC;

const T = BPF_PROG_TYPE;
/** Types of which no program loads without a target, so that helpers cannot be tried. */
const untestable = new Set<number>([T.BPF_PROG_TYPE_TRACING, T.BPF_PROG_TYPE_EXT, T.BPF_PROG_TYPE_LSM, T.BPF_PROG_TYPE_STRUCT_OPS]);

/** What the verifier says of a helper it does not know, or does not allow to this type. */
const refusals = ['invalid func ', 'unknown func ', 'program of this type cannot use helper '];

/**
 * Whether programs of a type may call a helper; null where that cannot be tried. The call is made without arguments: any
 * complaint but the ones about the helper itself means that it is there.
 */
export function hasHelper(kernel: Kernel, type: keyof typeof BPF_PROG_TYPE, helper: HelperName): boolean | null {
  if (untestable.has(T[type])) return null;
  const { result, log } = attemptLoad(kernel, T[type], [...asm.call(BPF_FUNC[helper]), ...asm.exit()]);
  return result >= 0 || (log !== '' && !refusals.some((refusal) => log.includes(refusal)));
}

/** Every helper that this version of rawbpf knows. */
export const helperNames: readonly HelperName[] = (Object.keys(BPF_FUNC) as HelperName[]).filter((name) => BPF_FUNC[name] !== 0);

/** Asking for these makes the kernel write warnings into its log. */
const loud = new Set<HelperName>(['BPF_FUNC_trace_printk', 'BPF_FUNC_trace_vprintk', 'BPF_FUNC_probe_write_user']);

/** The helpers that programs of a type may call, without those that the kernel would warn about; null where that cannot be tried. */
export function helpersOf(kernel: Kernel, type: keyof typeof BPF_PROG_TYPE): readonly HelperName[] | null {
  if (untestable.has(T[type])) return null;
  return helperNames.filter((helper) => !loud.has(helper) && hasHelper(kernel, type, helper) === true);
}
