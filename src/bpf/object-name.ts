/** Longest name of a map or program in the kernel: BPF_OBJ_NAME_LEN (16) less its NUL. */
const maxName = 15;

/** A name as the kernel takes it: at most 15 bytes of letters, digits, `_` and `.`; anything else becomes `_`. */
export function kernelObjectName(name: string): string {
  return name.replace(/[^A-Za-z0-9_.]/gu, '_').slice(0, maxName);
}
