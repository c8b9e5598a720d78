/** Does all of it, whatever fails; then throws the first error. */
export function attemptAll(work: (attempt: (step: () => void) => void) => void): void {
  const errors: unknown[] = [];
  work((step) => {
    try {
      step();
    } catch (error) {
      errors.push(error);
    }
  });
  if (errors.length > 0) throw errors[0];
}
