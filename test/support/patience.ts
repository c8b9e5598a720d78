/** How many times slower than a machine of its own this one is said to be: an emulated one some twenty times. */
export const slowness: number = Math.max(1, Number(process.env['RAWBPF_TEST_SLOWNESS'] ?? 1));

/** What a process wrote to stderr, without what Node says of `--jitless`, which guests run with. */
export function withoutFlagWarning(stderr: string): string {
  return stderr.replace(/^Warning: disabling flag --expose_wasm due to conflicting flags\n/gm, '');
}

/**
 * How often the kernel skipped a program because it was running on that CPU already, as a run says at its end: from 7.0 on raw
 * tracepoints can be preempted, and whoever passes one meanwhile on the same CPU is not seen (recursion_misses of bpf_prog_info).
 */
export function skippedRuns(stderr: string): number {
  const told = stderr.matchAll(/(once|(\d+) times) the kernel skipped program/g);
  return Array.from(told, (match) => Number(match[2] ?? 1)).reduce((sum, times) => sum + times, 0);
}
