import { KernelFunctions } from '../bpf/kernel/kernel-functions.ts';
import type { BpfMap } from '../bpf/map/map.ts';

/** The map that gadget_get_kernel_stack() keeps stacks in. */
export const kernelStackMap = 'ig_kstack';
/** Stacks whose text is kept; the kernel keeps no more. */
const maxKept = 10_000;

/** Texts of a running gadget's kernel stacks. Symbols are read when the first stack is asked for. */
export class KernelStacks {
  #map: BpfMap | null = null;
  #functions: KernelFunctions | null = null;
  readonly #kept = new Map<number, string>();

  /** For a run: where the stacks are from now on; null when it has ended. */
  bind(map: BpfMap | null): void {
    this.#map = map;
    this.#kept.clear();
    if (map === null) this.#functions = null;
  }

  /** Functions from the innermost outwards, `a; b; c`; nothing where there is no such stack. */
  text(id: number): string {
    const kept = this.#kept.get(id);
    if (kept !== undefined) return kept;
    // A negative error of bpf_get_stackid().
    if (this.#map === null || id >= 0x80000000) return '';
    const key = new Uint8Array(4);
    new DataView(key.buffer).setUint32(0, id, true);
    const stack = this.#map.lookup(key);
    if (stack === null) return '';
    this.#functions ??= KernelFunctions.read();
    const text = stackText(stack, this.#functions);
    if (this.#kept.size >= maxKept) this.#kept.clear();
    this.#kept.set(id, text);
    return text;
  }
}

/** The text of addresses as a stack map holds them: u64s, 0 after the last. */
export function stackText(stack: Uint8Array, functions: KernelFunctions): string {
  const view = new DataView(stack.buffer, stack.byteOffset, stack.byteLength);
  const names: string[] = [];
  for (let at = 0; at + 8 <= stack.length; at += 8) {
    const address = view.getBigUint64(at, true);
    if (address === 0n) break;
    names.push(functions.nameOf(address) ?? '[unknown]');
  }
  return names.join('; ');
}
