/** How many times slower than a machine of its own this one is said to be: an emulated one some twenty times. */
export const slowness: number = Math.max(1, Number(process.env['RAWBPF_TEST_SLOWNESS'] ?? 1));

/** What a process wrote to stderr, without what Node says of `--jitless`, which guests run with. */
export function withoutFlagWarning(stderr: string): string {
  return stderr.replace(/^Warning: disabling flag --expose_wasm due to conflicting flags\n/gm, '');
}
