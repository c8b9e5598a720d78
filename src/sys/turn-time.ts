let now = 0;
let known = false;

function forget(): void {
  known = false;
}

/**
 * Milliseconds of a steady clock (as performance.now()), read once for each turn of JavaScript: asking for every event would cost
 * more than what is done with it. Turns that read events are bounded, see {@link TurnOptions}.
 */
export function turnTime(): number {
  if (known) return now;
  now = performance.now();
  known = true;
  // Runs as soon as the callback at hand has returned.
  queueMicrotask(forget);
  return now;
}
