import { targetName } from '../source-builder.ts';
import { compileLayout } from './go-layout.ts';
import { readTime } from '../read.ts';
import type { EpochTime } from '../context.ts';
import type { TimeSlot } from '../slot.ts';
import type { SpecialType } from './registry.ts';

/**
 * `gadget_timestamp`: nanoseconds since boot become nanoseconds since the epoch, and text in RFC 3339 beside them where
 * there is a name for it. The annotation `formatters.timestamp.format` takes another layout, written as Go writes them.
 */
export const timestampType: SpecialType = {
  name: 'timestamp',
  applies: (field) => field.tags.has('type:gadget_timestamp') && field.kind === 'uint64' && field.slot?.shape === 'scalar',
  extend(builder, field) {
    const { clock } = builder.context;
    const slot = (as: 'number' | 'text'): TimeSlot => ({ shape: 'time', as, offset: field.offset, clock });
    const raw = builder.replace(field, slot('number')).suggest('columns.hidden', 'true');
    const leaf = targetName(raw, 'formatters.timestamp.target');
    if (leaf === null) return;
    const layout = raw.annotation('formatters.timestamp.format');
    const tags = [`name:${leaf}`];
    if (layout === null || layout === '') {
      builder.add({ leaf, parent: raw.parent, slot: slot('text'), tags }, raw)?.suggestTemplate('timestamp');
      return;
    }
    const format = compileLayout(layout);
    const time = slot('text');
    const moment: EpochTime = { seconds: 0, nanoseconds: 0 };
    builder
      .addText(raw, leaf, {
        repeats: false,
        text(record, at) {
          readTime(time, record, at, moment);
          return format(moment);
        },
      })
      ?.suggestTemplate('timestamp');
  },
};
