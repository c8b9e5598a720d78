import { asm } from '../insn/asm.ts';
import { BPF_FUNC, BPF_RINGBUF } from '../uapi/index.ts';
import type { ObjectSpec } from './spec.ts';
import { wrapHelpers, type HelperWrapper } from './wrapped-helpers.ts';

/** Helpers that wake a ring buffer's reader, and the register that holds their flags. */
const waking = [
  { helper: BPF_FUNC.BPF_FUNC_ringbuf_submit, name: 'rawbpf_quiet_submit', flags: 2 },
  { helper: BPF_FUNC.BPF_FUNC_ringbuf_discard, name: 'rawbpf_quiet_discard', flags: 2 },
  { helper: BPF_FUNC.BPF_FUNC_ringbuf_output, name: 'rawbpf_quiet_output', flags: 4 },
] as const;

/**
 * Makes an object's programs wake no reader of a ring buffer: each call of bpf_ringbuf_submit, bpf_ringbuf_discard and
 * bpf_ringbuf_output passes BPF_RB_NO_WAKEUP as well (BPF_RB_FORCE_WAKEUP of a program's own still wakes). The reader has to
 * look by itself: {@link RingbufReaderOptions.pollIntervalMs}. Calls that take a dynptr stay as they are, and so does an object
 * without such calls; func_info and line_info go, as with countLosses().
 *
 * @example
 * import { openObject, silenceWakeups, type ObjectSpec } from 'rawbpf/object';
 * function quiet(object: Uint8Array): ObjectSpec {
 *   return silenceWakeups(openObject(object));
 * }
 */
export function silenceWakeups(spec: ObjectSpec): ObjectSpec {
  const wrappers = waking.map(({ helper, name, flags }): HelperWrapper => {
    return { helper, name, insns: [...asm.aluImm('OR', flags, BPF_RINGBUF.BPF_RB_NO_WAKEUP), ...asm.call(helper), ...asm.exit()] };
  });
  return wrapHelpers(spec, { name: '.rawbpf.quiet', wrappers });
}
