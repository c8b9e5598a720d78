import { Kernel, kernelFeatures, type FeatureReport } from '../../bpf/index.ts';
import { commonOptions, outputOption, type Command } from '../command.ts';
import { jsonText } from '../json-text.ts';
import { parseOptions, usage } from '../options.ts';
import { printable } from '../../bytes/printable.ts';

const formats = ['columns', 'json', 'jsonpretty'] as const;
const options = [outputOption(formats), { name: 'helpers', help: 'also try every helper with every program type: some 6,000 loads' }];

/** `rawbpf features`: what this kernel can do, found out by trying. */
export const featuresCommand: Command = {
  name: 'features',
  summary: 'show what this kernel can do with BPF, found out by trying',
  usage: 'features [--helpers] [-o columns|json|jsonpretty]',
  description: 'Tries program types, map types, helpers and ways to attach on the running kernel; nothing stays loaded or attached.',
  options,
  examples: ['rawbpf features', 'rawbpf features --helpers -o json'],
  run({ args, stdout, stderr }) {
    const { options: given } = parseOptions(args, [...options, ...commonOptions]);
    if (given.operands.length > 0) throw usage('features takes no operand');
    const format = given.flag('json') ? 'json' : (given.choice('output', formats) ?? 'columns');
    const kernel = new Kernel({ onNotice: (notice) => stderr.write(`rawbpf: ${printable(notice.message)}\n`) });
    try {
      const report = kernelFeatures(kernel, { helpers: given.flag('helpers') });
      stdout.write(format === 'columns' ? featuresText(report) : `${jsonText(report, format === 'json' ? 0 : 2)}\n`);
    } finally {
      kernel.close();
    }
    return Promise.resolve(0);
  },
};

function featuresText(report: FeatureReport): string {
  const { kernel, privileges } = report;
  const parts = [
    section('Kernel', [
      ['release', kernel.release],
      ['architecture', kernel.arch],
      ['possible CPUs', kernel.possibleCpus],
      ['BTF types', kernel.btfTypes ?? 'none'],
      ['modules with BTF', kernel.btfModules.length],
      ['build configuration', kernel.configSource ?? 'not found'],
    ]),
    section('Privileges', [
      ['user id', privileges.uid],
      ['capabilities', privileges.capabilities.join(' ') || 'none'],
      ['unprivileged_bpf_disabled', privileges.unprivilegedBpfDisabled ?? 'unknown'],
      ['lockdown', privileges.lockdown ?? 'unknown'],
      ['seccomp', privileges.seccomp ?? 'unknown'],
      ['memlock', privileges.memlock === null ? 'unlimited' : `${privileges.memlock} bytes`],
      ...(privileges.obstacle === null ? [] : [['obstacle', privileges.obstacle] as const]),
    ]),
    section(
      'Program types',
      report.programTypes.map(({ name, supported }) => [name, yesNo(supported)]),
    ),
    section(
      'Map types',
      report.mapTypes.map(({ name, supported }) => [name, yesNo(supported)]),
    ),
    section(
      'Ways to attach',
      report.attach.map((each) => [each.kind, `${yesNo(each.supported)}: ${each.detail}`]),
    ),
    section(
      'Features',
      Object.entries(report.features).map(([name, has]) => [name, yesNo(has)]),
    ),
    section(
      'Instructions',
      Object.entries(report.instructions).map(([name, has]) => [name, yesNo(has)]),
    ),
    section(
      'Mounts',
      report.mounts.map(({ type, path }) => [type, path ?? 'not mounted (not needed)']),
    ),
    section(
      'Settings',
      Object.entries(report.sysctls).map(([name, value]) => [name, value ?? 'unknown']),
    ),
  ];
  if (report.helpers.length > 0) {
    parts.push(
      section(
        'Helpers',
        report.helpers.map(({ programType, helpers }) => [programType, helpers === null ? 'cannot be tried' : helpers.join(' ') || 'none']),
      ),
    );
  }
  return parts.join('\n');
}

function section(title: string, rows: readonly (readonly [string, string | number])[]): string {
  const width = rows.reduce((most, [name]) => Math.max(most, name.length), 0);
  return `${title}\n${rows.map(([name, value]) => `  ${name.padEnd(width)}  ${printable(String(value))}\n`).join('')}`;
}

function yesNo(value: boolean): string {
  return value ? 'yes' : 'no';
}
