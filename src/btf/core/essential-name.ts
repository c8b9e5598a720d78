/**
 * The part of a type's name that CO-RE compares: what stands before the last `___` that has other characters than
 * underscores on both sides (`task_struct___old` is a flavour of `task_struct`).
 *
 * @example
 * import { essentialName } from 'rawbpf/btf';
 * console.log(essentialName('task_struct___5_14')); // task_struct
 */
export function essentialName(name: string): string {
  for (let at = name.lastIndexOf('___'); at > 0; at = name.lastIndexOf('___', at - 1)) {
    const after = name.charCodeAt(at + 3);
    if (name.charCodeAt(at - 1) !== UNDERSCORE && !Number.isNaN(after) && after !== UNDERSCORE) return name.slice(0, at);
  }
  return name;
}

const UNDERSCORE = 0x5f;
