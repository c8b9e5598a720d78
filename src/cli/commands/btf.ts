import { dumpC } from '../../btf/dump/c/dump.ts';
import { dumpJson } from '../../btf/dump/json.ts';
import { dumpRaw } from '../../btf/dump/raw.ts';
import { commonOptions, type Command } from '../command.ts';
import { parseOptions, usage } from '../options.ts';
import { readBtf } from '../read-input.ts';

const KERNEL_BTF = '/sys/kernel/btf/vmlinux';
const formats = ['c', 'raw', 'json'] as const;
const options = [
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
  summary: 'print BTF as a C header, as text or as JSON',
  usage: 'btf dump [FILE] [--format c|raw|json] [--base FILE]',
  description: `Prints the BTF of FILE, a raw BTF file or an ELF file with a .BTF section; ${KERNEL_BTF} unless said.\nWith c the result is a vmlinux.h: clang compiles it, and every size and offset in it is the one that BTF says.`,
  options,
  examples: ['rawbpf btf dump --format c > vmlinux.h', 'rawbpf btf dump program.bpf.o'],
  run({ args, stdout }) {
    const { options: given } = parseOptions(args, [...options, ...commonOptions]);
    const [verb, file = KERNEL_BTF, ...more] = given.operands;
    if (verb !== 'dump') throw usage('btf needs a verb', 'the only one is dump: rawbpf btf dump [FILE]');
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
