import type { Kernel } from '../bpf/kernel/kernel.ts';
import { countLosses } from '../bpf/object/count-losses.ts';
import { silenceWakeups } from '../bpf/object/silence-wakeups.ts';
import type { ObjectSpec } from '../bpf/object/spec.ts';
import type { GadgetContract } from './contract.ts';
import { sharedCounter } from './loss-counter.ts';

/** The object, made to wake nobody where that is asked for; with perf buffers it is the buffers that wake, see openReader(). */
export function quietSpec(spec: ObjectSpec, kernel: Kernel, { wakeupMs = 0 }: { readonly wakeupMs?: number }): ObjectSpec {
  return wakeupMs > 0 && kernel.ringbuf ? silenceWakeups(spec) : spec;
}

/** The object, made to count lost events where it does not count them itself. */
export function countingSpec(spec: ObjectSpec, contract: GadgetContract): ObjectSpec {
  const counts = contract.tracers.every(({ lostMap }) => lostMap !== null);
  return counts || spec.variables.some(({ name }) => name === sharedCounter) ? spec : countLosses(spec);
}
