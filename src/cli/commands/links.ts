import { Kernel, listLinks, listUnlinked, openProgramById, sweepUnlinked, type LinkInfo, type Unlinked } from '../../bpf/index.ts';
import { printable } from '../../bytes/printable.ts';
import { commonOptions, outputOption, type Command } from '../command.ts';
import { jsonText } from '../json-text.ts';
import { parseOptions, usage } from '../options.ts';
import { table } from '../table.ts';

const formats = ['columns', 'json', 'jsonpretty'] as const;
const options = [outputOption(formats), { name: 'sweep', help: 'first take away what dead processes of rawbpf have left' }];

/** `rawbpf links`: everything that is attached and known to the kernel as a link, and what rawbpf attached without one. */
export const linksCommand: Command = {
  name: 'links',
  summary: 'show what is attached: the links of all programs, and what rawbpf attached without one',
  usage: 'links [--sweep] [-o columns|json|jsonpretty]',
  description:
    'Links go with their processes. Filters of traffic control, XDP through netlink, attachments of older kinds and probes in tracefs do not:\n' +
    'rawbpf writes its process on them, and takes away those of dead ones when it starts (here: with --sweep).',
  options,
  examples: ['rawbpf links', 'rawbpf links --sweep', 'rawbpf links -o json'],
  run({ args, stdout, stderr }) {
    const { options: given } = parseOptions(args, [...options, ...commonOptions]);
    if (given.operands.length > 0) throw usage('links takes no operand');
    const format = given.flag('json') ? 'json' : (given.choice('output', formats) ?? 'columns');
    const kernel = new Kernel({ onNotice: (notice) => stderr.write(`rawbpf: ${printable(notice.message)}\n`) });
    try {
      const swept = given.flag('sweep') ? sweepUnlinked(kernel) : [];
      for (const { kind, target, owner } of swept) {
        stderr.write(`rawbpf: took away ${kind} ${printable(target)} of process ${owner.pid}, which is dead\n`);
      }
      const links = [...listLinks(kernel)].map((info) => ({ ...info, programName: programName(kernel, info.programId) }));
      const unlinked = listUnlinked(kernel);
      if (format === 'columns') stdout.write(linksText(links, unlinked));
      else stdout.write(`${jsonText({ links, unlinked, swept }, format === 'json' ? 0 : 2)}\n`);
    } finally {
      kernel.close();
    }
    return Promise.resolve(0);
  },
};

function programName(kernel: Kernel, id: number): string {
  const program = openProgramById(kernel, id);
  if (program === null) return '';
  const { name } = program;
  program.close();
  return name;
}

function linksText(links: readonly (LinkInfo & { readonly programName: string })[], unlinked: readonly Unlinked[]): string {
  const rows = links.map((link) => [
    link.id,
    link.typeName.replace('BPF_LINK_TYPE_', '').toLowerCase(),
    link.programId,
    link.programName,
    Object.entries(link.details)
      .map(([field, value]) => `${field}=${value}`)
      .join(' '),
  ]);
  const parts = [`Links\n${table(['ID', 'TYPE', 'PROGRAM', 'NAME', 'DETAILS'], rows)}`];
  const others = unlinked.map(({ kind, target, programId, programName: name, owner, alive }) => [
    kind,
    target,
    programId === 0 ? null : programId,
    name,
    owner.pid,
    alive === null ? 'in another PID namespace' : alive ? 'alive' : 'dead',
  ]);
  if (others.length > 0)
    parts.push(`Attached by rawbpf without a link\n${table(['KIND', 'TARGET', 'PROGRAM', 'NAME', 'PID', 'OWNER'], others)}`);
  return parts.join('\n');
}
