import type { SpecialType } from './registry.ts';

/**
 * `gadget_string`: text that lies behind the event's last member, as include/gadget/strings.h puts it. The field is the text
 * itself.
 */
export const placedType: SpecialType = {
  name: 'string',
  applies: (field) => field.tags.has('type:gadget_string') && field.kind === 'uint32' && field.slot?.shape === 'scalar',
  extend(builder, field) {
    builder.replace(field, { shape: 'placed', offset: field.offset });
  },
};
