import { dumpC } from '../../btf/dump/c/dump.ts';
import { dumpJson } from '../../btf/dump/json.ts';
import { dumpRaw } from '../../btf/dump/raw.ts';
import { btfExtFromElf, btfFromElf, minimizeBtf } from '../../btf/index.ts';
import { parseElf } from '../../elf/index.ts';
import { RawbpfError } from '../../error.ts';
import { commonOptions, type Command } from '../command.ts';
import { parseOptions, usage, type ParsedOptions } from '../options.ts';
import { parseFile, readBtf } from '../read-input.ts';
import { writeFile } from '../write-output.ts';

const KERNEL_BTF = '/sys/kernel/btf/vmlinux';
const formats = ['c', 'raw', 'json'] as const;
const options = [
  { name: 'out', value: 'FILE', help: 'where btf min writes' },
  { name: 'btf', value: 'FILE', help: `the kernel's BTF that btf min takes its part from; ${KERNEL_BTF} unless said` },
  { name: 'format', short: 'f', value: 'FORMAT', help: 'c (a header for clang), raw (a line a type), json; default raw' },
  { name: 'output', short: 'o', value: 'FORMAT', help: 'the same as --format' },
  {
    name: 'base',
    value: 'FILE',
    help: `the BTF that FILE is split over; for modules below /sys/kernel/btf it is ${KERNEL_BTF} unless said`,
  },
];

/** `rawbpf btf dump`: BTF as C, text or JSON. */
export const btfCommand: Command = {
  name: 'btf',
  summary: 'print BTF as a C header, as text or as JSON; cut out the part that objects need',
  usage: 'btf dump [FILE] [--format c|raw|json] [--base FILE] | btf min OBJECT... --out FILE [--btf FILE]',
  description: `Prints the BTF of FILE, a raw BTF file or an ELF file with a .BTF section; ${KERNEL_BTF} unless said.\nWith c the result is a vmlinux.h: clang compiles it, and every size and offset in it is the one that BTF says.\nbtf min writes the part of a kernel's BTF that the CO-RE relocations of the objects look at: for kernels that carry no BTF.`,
  options,
  examples: [
    'rawbpf btf dump --format c > vmlinux.h',
    'rawbpf btf dump program.bpf.o',
    'rawbpf btf min program.bpf.o --btf vmlinux-5.4.btf --out min.btf',
  ],
  run({ args, stdout }) {
    const { options: given } = parseOptions(args, [...options, ...commonOptions]);
    const [verb, file = KERNEL_BTF, ...more] = given.operands;
    if (verb === 'min') return minimize(given);
    if (verb !== 'dump') throw usage('btf needs a verb', 'rawbpf btf dump [FILE], or rawbpf btf min OBJECT... --out FILE');
    if (more.length > 0) throw usage('btf dump takes one file');
    const format = given.flag('json') ? 'json' : (given.choice('format', formats) ?? given.choice('output', formats) ?? 'raw');
    const isModule = /^\/sys\/kernel\/btf\/(?!vmlinux$)/.test(file);
    const base = given.text('base') ?? (isModule ? KERNEL_BTF : null);
    const btf = readBtf(file, base === null ? null : readBtf(base, null));
    const chunks = format === 'c' ? dumpC(btf) : format === 'raw' ? dumpRaw(btf) : dumpJson(btf);
    for (const chunk of chunks) stdout.write(chunk);
    return Promise.resolve(0);
  },
};

function minimize(given: ParsedOptions): Promise<number> {
  const objects = given.operands.slice(1);
  const out = given.text('out');
  if (objects.length === 0 || out === null) throw usage('btf min needs objects and --out FILE');
  const parts = objects.map((file) => {
    const { btf, ext } = parseFile(file, (bytes) => {
      const elf = parseElf(bytes);
      const found = btfFromElf(elf);
      return { btf: found, ext: found === null ? null : btfExtFromElf(elf, found) };
    });
    if (btf === null || ext === null)
      throw new RawbpfError({ code: 'E_BTF_MISSING', what: `${file} has no CO-RE relocations`, next: 'compile it with -g' });
    return { btf, ext };
  });
  writeFile(out, minimizeBtf(readBtf(given.text('btf') ?? KERNEL_BTF, null), parts));
  return Promise.resolve(0);
}
