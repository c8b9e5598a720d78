import { targetName } from '../source-builder.ts';
import type { SpecialType } from './registry.ts';

/** `gadget_kernel_stack`: the functions of a kernel stack, innermost first. */
export const kernelStackType: SpecialType = {
  name: 'kernel_stack',
  applies: (field) => field.tags.has('type:gadget_kernel_stack') && field.kind === 'uint32',
  extend(builder, field) {
    const leaf = targetName(field, 'ebpf.formatter.kstack');
    const { stacks } = builder;
    if (leaf === null || stacks === null) return;
    builder
      .addText(field, leaf, { text: (record, at) => stacks.text(field.number(record, at)), repeats: true })
      ?.suggest('columns.hidden', 'true')
      .suggest('description', 'Functions of the kernel stack, innermost first');
  },
};
