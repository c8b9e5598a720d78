import type { Field } from '../field.ts';
import type { SourceBuilder } from '../source-builder.ts';
import { bytesType } from './bytes.ts';
import { dnsType } from './dns.ts';
import { durationType } from './duration.ts';
import { l3endpointType, l4endpointType } from './endpoint.ts';
import { enumType } from './enum.ts';
import { errnoType } from './errno.ts';
import { fileFlagsType } from './file-flags.ts';
import { fileModeType } from './file-mode.ts';
import { groupType, userType } from './ids.ts';
import { kernelStackType } from './kernel-stack.ts';
import { placedType } from './placed.ts';
import { signalType } from './signal.ts';
import { stringsType } from './strings.ts';
import { syscallType } from './syscall.ts';
import { timestampType } from './timestamp.ts';
import { userStackType } from './user-stack.ts';

/** A kind of field that is shown in a form made for people. */
export interface SpecialType {
  /** Its name in annotations: `formatters.NAME.target`. */
  readonly name: string;
  applies(field: Field, builder: SourceBuilder): boolean;
  /** Adds what people read, and hides the raw value from columns. */
  extend(builder: SourceBuilder, field: Field): void;
}

const specials: readonly SpecialType[] = [
  timestampType,
  errnoType,
  signalType,
  syscallType,
  bytesType,
  durationType,
  fileModeType,
  fileFlagsType,
  userType,
  groupType,
  l3endpointType,
  l4endpointType,
  enumType,
  kernelStackType,
  userStackType,
  stringsType,
  dnsType,
  placedType,
];

/** Adds the fields that special types bring along; call it once all fields of the struct are there. */
export function applySpecials(builder: SourceBuilder): void {
  for (const field of builder.fields.slice()) {
    for (const special of specials) {
      if (builder.find(field.name) === field && special.applies(field, builder)) special.extend(builder, field);
    }
  }
}
