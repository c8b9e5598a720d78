import path from 'node:path';
import { Kernel, tryProgramsAsync, type ObjectVerdict, type ProgramVerdict } from '../../bpf/index.ts';
import { BPF_OPCODE, BPF_PSEUDO, InsnSlots } from '../../bpf/insn/index.ts';
import { openObject } from '../../bpf/object/index.ts';
import { toHex } from '../../bytes/text.ts';
import { layoutWanted } from '../../enrich/sockets/layout.ts';
import { RawbpfError } from '../../error.ts';
import { commonOptions, outputOption, type Command } from '../command.ts';
import { jsonText } from '../json-text.ts';
import { parseOptions, usage, type ParsedOptions } from '../options.ts';
import { printable, printableLines } from '../../bytes/printable.ts';
import { holdsEverywhere, kernelsReport, kernelsText } from '../kernels-report.ts';
import { readBtf, readFile } from '../read-input.ts';
import { table } from '../table.ts';

const formats = ['columns', 'json', 'jsonpretty'] as const;
const options = [
  outputOption(formats),
  { name: 'insns', help: 'add the instructions after all relocation, as hex' },
  { name: 'attach', help: 'also attach each program that says where, and let go' },
  { name: 'strict', help: "libbpf's own judgement: refuse what it refuses" },
  { name: 'kernels', value: 'DIR', help: 'ask no kernel: relocate for each kernel whose BTF file lies in DIR, and say what breaks where' },
  { name: 'btf', value: 'FILE', help: 'BTF of the kernel to relocate for, instead of the running one' },
  { name: 'buffer', value: 'KIND', help: 'auto, ringbuf or perf: which buffer the CO-RE questions are answered for' },
];

interface CheckError {
  readonly code: string;
  readonly message: string;
}

/** One line of `rawbpf check -o json`. */
interface CheckResult {
  readonly object: string;
  readonly opened: boolean;
  readonly loaded: boolean;
  readonly error: CheckError | null;
  readonly programs: readonly Record<string, unknown>[];
  readonly maps: readonly Record<string, unknown>[];
}

/** `rawbpf check`: does an object load on this kernel? */
export const checkCommand: Command = {
  name: 'check',
  summary: 'load objects into the kernel and let go again: what loads, what does not, and why',
  usage: 'check OBJECT... [-o columns|json|jsonpretty] [--insns] [--attach] [--strict]',
  description:
    'Opens, relocates and loads each object, then lets go of it. Where an object does not load as a whole, or does not want a\n' +
    'program loaded, each such program is tried alone. Exit code 0 only if every object loaded.\n' +
    'With json: one line an object, {object, opened, loaded, error, programs, maps}.\n' +
    'With --kernels no privilege is needed, and exit code 0 means that nothing breaks on any of the kernels.',
  options,
  examples: ['rawbpf check program.bpf.o', 'rawbpf check *.o -o json --insns'],
  async run({ args, stdout, stderr }) {
    const { options: given } = parseOptions(args, [...options, ...commonOptions]);
    if (given.operands.length === 0) throw usage('check needs an object');
    const format = given.flag('json') ? 'json' : (given.choice('output', formats) ?? 'columns');
    const folder = given.text('kernels');
    if (folder !== null) {
      const report = kernelsReport(folder, given.operands, given.flag('strict'));
      stdout.write(format === 'columns' ? kernelsText(report) : `${jsonText(report, format === 'json' ? 0 : 2)}\n`);
      return holdsEverywhere(report) ? 0 : 1;
    }
    const btf = given.text('btf');
    const told = new Set<string>();
    const kernel = new Kernel({
      buffer: given.choice('buffer', ['auto', 'ringbuf', 'perf']) ?? 'auto',
      onNotice: ({ message }) => {
        // Each program that is tried alone would tell it again.
        if (!told.has(message)) stderr.write(`rawbpf: ${printable(message)}\n`);
        told.add(message);
      },
      ...(btf === null ? {} : { btf: readBtf(btf, null) }),
    });
    let all = true;
    try {
      for (const file of given.operands) {
        const result = await checkObject(kernel, file, given);
        all &&= result.loaded;
        if (format === 'columns') stdout.write(checkText(result));
        else stdout.write(`${jsonText(result, format === 'json' ? 0 : 2)}\n`);
      }
    } finally {
      kernel.close();
    }
    return all ? 0 : 1;
  },
};

async function checkObject(kernel: Kernel, file: string, given: ParsedOptions): Promise<CheckResult> {
  let verdict: ObjectVerdict;
  try {
    const name = path.basename(file).replace(/\.o$/, '');
    const spec = openObject(readFile(file), { name, strict: given.flag('strict'), pageSize: kernel.pageSize });
    // What `run` would give a gadget; libbpf knows nothing of it.
    const layout = given.flag('strict') ? null : layoutWanted(spec);
    verdict = await tryProgramsAsync(kernel, spec, { attach: given.flag('attach'), extraBtfs: layout === null ? [] : [layout.btf] });
  } catch (error) {
    if (!(error instanceof RawbpfError)) throw error;
    return { object: file, opened: false, loaded: false, error: errorOf(error), programs: [], maps: [] };
  }
  return {
    object: file,
    opened: true,
    loaded: verdict.loaded,
    error: errorOf(verdict.error),
    programs: verdict.programs.map((program) => programRow(program, given.flag('insns'))),
    maps: verdict.maps.map((map) => ({ ...map })),
  };
}

function programRow(program: ProgramVerdict, withInsns: boolean): Record<string, unknown> {
  const { name, section, type, attachType, expectedAttachType, insnCount, loaded, tag, attached } = program;
  const row = { name, section, type, attachType, expectedAttachType, insnCount, loaded, tag, attached, error: errorOf(program.error) };
  return withInsns ? { ...row, insns: program.insns === null ? null : toHex(withoutMapFds(program.insns)) } : row;
}

/** A number that the source itself wrote where a map's descriptor goes means nothing on another run, either. */
function withoutMapFds(bytes: Uint8Array): Uint8Array {
  const insns = new InsnSlots(bytes.slice());
  for (let slot = 0; slot < insns.count; slot++) {
    if (insns.code(slot) !== BPF_OPCODE.LDIMM64) continue;
    const source = insns.src(slot);
    if (source === BPF_PSEUDO.BPF_PSEUDO_MAP_FD || source === BPF_PSEUDO.BPF_PSEUDO_MAP_VALUE) insns.setImm(slot, 0);
    slot++;
  }
  return insns.bytes;
}

function errorOf(error: RawbpfError | null): CheckError | null {
  return error === null ? null : { code: error.code, message: error.message };
}

function checkText(result: CheckResult): string {
  const verdict = !result.opened ? 'cannot be read' : result.loaded ? 'loads' : 'does not load';
  let text = `${printable(result.object)}: ${verdict}\n`;
  if (result.error !== null) text += `  ${printableLines(result.error.message)}\n`;
  if (result.programs.length > 0) {
    text += table(
      ['PROGRAM', 'SECTION', 'TYPE', 'INSNS', 'LOADED', 'ATTACHED', 'TAG'],
      result.programs.map((row) => [
        String(row['name']),
        String(row['section']),
        String(row['type']).replace('BPF_PROG_TYPE_', ''),
        Number(row['insnCount']),
        row['loaded'] === true ? 'yes' : 'no',
        row['attached'] === null ? null : row['attached'] === true ? 'yes' : 'no',
        typeof row['tag'] === 'string' ? row['tag'] : null,
      ]),
    );
    for (const row of result.programs) {
      const error = row['error'] as CheckError | null;
      if (error !== null && error.message !== result.error?.message)
        text += `  ${printable(String(row['name']))}: ${printableLines(error.message)}\n`;
    }
  }
  return text;
}
