import { attachPerfEvent, type PerfEventName } from '../bpf/link/perf-event.ts';
import type { BpfLink } from '../bpf/link/link.ts';
import type { BpfProgram } from '../bpf/program/program.ts';
import { PERF_COUNT_HW, PERF_COUNT_SW } from '../bpf/uapi/perf.gen.ts';
import { printable } from '../bytes/printable.ts';
import { didYouMean } from '../bytes/suggest.ts';
import { FormatError } from '../error.ts';
import type { GadgetMetadata, ProgramMetadata } from './metadata.ts';

/** What gadget.yaml says of a program: by the name of its function, or, of a perf event's, by the name in its section. */
export function programMetadata(metadata: GadgetMetadata, program: BpfProgram): ProgramMetadata | null {
  const section = program.spec?.sectionName ?? '';
  return metadata.programs.get(program.name) ?? metadata.programs.get(section.slice(section.indexOf('/') + 1)) ?? null;
}

/**
 * Attaches a program of a section `perf_event/NAME` to the event that gadget.yaml's `programs.NAME.perf` names, on every CPU; null
 * where it names none.
 *
 * Throws FormatError `E_GADGET_PERF` for settings that mean nothing, SyscallError where the machine cannot count the event.
 */
export function attachProfiler(program: BpfProgram, settings: ProgramMetadata | null): BpfLink | null {
  if (settings === null || settings.perf === null) return null;
  const event = eventOf(program, settings.perf);
  const { frequency, period } = settings;
  for (const [name, value] of [
    ['frequency', frequency],
    ['period', period],
  ] as const) {
    if (value !== null && (!Number.isSafeInteger(value) || value < 1))
      throw settingError(program, `sampler.${name}`, String(value), 'it must be a whole number of at least 1');
  }
  if (frequency !== null && period !== null) throw settingError(program, 'sampler', 'frequency and period', 'only one of them can be kept');
  return attachPerfEvent(program, event, period === null ? (frequency === null ? {} : { frequency }) : { period });
}

const types = { software: PERF_COUNT_SW, hardware: PERF_COUNT_HW } as const;

/** `type: software, config: count_sw_cpu_clock`: the kernel's names, PERF_ taken off, in any case. */
function eventOf(program: BpfProgram, { type, config }: NonNullable<ProgramMetadata['perf']>): PerfEventName {
  if (type !== '' && !Object.hasOwn(types, type)) throw settingError(program, 'perf.type', type, 'it is one of software, hardware');
  const known = Object.keys(type === '' ? { ...PERF_COUNT_SW, ...PERF_COUNT_HW } : types[type as keyof typeof types]);
  const wanted = config
    .toUpperCase()
    .replaceAll('-', '_')
    .replace(/^(?:PERF_)?/, 'PERF_');
  const found = known.find((name) => name === wanted || name.replace(/^PERF_COUNT_(?:SW|HW)_/, 'PERF_') === wanted);
  if (found !== undefined) return found as PerfEventName;
  const names = known.map((name) => name.slice('PERF_'.length).toLowerCase());
  throw settingError(
    program,
    'perf.config',
    config,
    [didYouMean(config.toLowerCase(), names), `it is one of ${names.join(', ')}`].filter(Boolean).join(' '),
  );
}

function settingError(program: BpfProgram, key: string, value: string, why: string): FormatError {
  return new FormatError({
    code: 'E_GADGET_PERF',
    what: 'a setting in gadget.yaml for a profiler means nothing',
    where: { program: program.name, key, value: printable(value) },
    why: printable(why),
  });
}
