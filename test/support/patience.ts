/** How many times slower than a machine of its own this one is said to be: an emulated one some twenty times. */
export const slowness: number = Math.max(1, Number(process.env['RAWBPF_TEST_SLOWNESS'] ?? 1));
