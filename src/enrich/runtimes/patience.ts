const steps = 4;

/**
 * Calls `fire` after `ms` in which this process ran: in several steps, so that one that was stopped (SIGSTOP, a debugger, a
 * laptop's lid) first looks at the answers that came in the meantime. Returns how to call it off. Keeps no process alive.
 */
export function patiently(ms: number, fire: () => void): () => void {
  let left = steps;
  let timer: NodeJS.Timeout;
  const step = (): void => {
    timer = setTimeout(() => (--left <= 0 ? fire() : step()), ms / steps);
    timer.unref();
  };
  step();
  return () => clearTimeout(timer);
}
