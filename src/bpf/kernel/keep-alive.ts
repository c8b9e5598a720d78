let kept: readonly unknown[] = [];

/**
 * Called after a system call with the buffers whose bare addresses were passed inside another: an address keeps nothing
 * alive, a later use does.
 */
export function keepAlive(...buffers: readonly unknown[]): void {
  kept = buffers;
  kept = [];
}

/** For tests: nothing stays referenced. */
export function keptBuffers(): readonly unknown[] {
  return kept;
}
