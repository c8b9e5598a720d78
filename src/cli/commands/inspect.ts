import path from 'node:path';
import { openObject } from '../../bpf/object/index.ts';
import { parseElf, SHT } from '../../elf/index.ts';
import { commonOptions, outputOption, type Command } from '../command.ts';
import { inspection, type Inspection } from '../inspection.ts';
import { jsonText } from '../json-text.ts';
import { parseOptions, usage } from '../options.ts';
import { printable } from '../../bytes/printable.ts';
import { parseFile } from '../read-input.ts';
import { table } from '../table.ts';

const formats = ['columns', 'json', 'jsonpretty'] as const;
const options = [
  outputOption(formats),
  { name: 'disasm', help: 'print instructions with their C lines and the maps and fields they refer to' },
  { name: 'strict', help: 'read the object as libbpf would, refusing what it refuses' },
];

/** `rawbpf inspect`: what an object says, without a kernel. */
export const inspectCommand: Command = {
  name: 'inspect',
  summary: 'show what an object holds: sections, maps, programs, variables, events, relocations',
  usage: 'inspect OBJECT [--disasm] [-o columns|json|jsonpretty]',
  description: 'Reads a compiled object and shows what it says. No kernel and no privilege is needed.',
  options,
  examples: ['rawbpf inspect program.bpf.o', 'rawbpf inspect program.bpf.o --disasm'],
  run({ args, stdout }) {
    const { options: given } = parseOptions(args, [...options, ...commonOptions]);
    const [file, ...more] = given.operands;
    if (file === undefined || more.length > 0) throw usage('inspect takes one object');
    const format = given.flag('json') ? 'json' : (given.choice('output', formats) ?? 'columns');
    const found = parseFile(file, (bytes) => {
      const spec = openObject(bytes, { name: path.basename(file).replace(/\.o$/, ''), strict: given.flag('strict') });
      return inspection(file, parseElf(bytes), spec, given.flag('disasm'));
    });
    stdout.write(format === 'columns' ? inspectionText(found) : `${jsonText(found, format === 'json' ? 0 : 2)}\n`);
    return Promise.resolve(0);
  },
};

function inspectionText(found: Inspection): string {
  const parts = [
    `${printable(found.object)}: ${found.littleEndian ? 'little' : 'big'}-endian, license ${printable(found.license) || '(none)'}`,
  ];
  const section = (title: string, head: readonly string[], rows: readonly (readonly (string | number | bigint | null)[])[]): void => {
    if (rows.length > 0) parts.push(`${title}\n${table(head, rows)}`);
  };
  section(
    'Sections',
    ['#', 'NAME', 'TYPE', 'SIZE'],
    found.sections.map((each) => [each.index, each.name, sectionTypeName(each.type), each.size]),
  );
  section(
    'Maps',
    ['NAME', 'TYPE', 'KEY', 'VALUE', 'ENTRIES', 'FLAGS'],
    found.maps.map((each) => [each.name, each.type, each.keySize, each.valueSize, each.maxEntries, `0x${each.flags.toString(16)}`]),
  );
  section(
    'Programs',
    ['NAME', 'SECTION', 'TYPE', 'ATTACH TYPE', 'INSNS'],
    found.programs.map((each) => [each.name, each.section, each.type, each.attachType, each.insnCount]),
  );
  section(
    'Variables',
    ['NAME', 'MAP', 'OFFSET', 'SIZE', 'TYPE'],
    found.variables.map((each) => [each.name, each.map, each.offset, each.size, each.type]),
  );
  section(
    'Externs',
    ['NAME', 'KIND', 'WEAK'],
    found.externs.map((each) => [each.name, each.kind, each.weak ? 'weak' : '']),
  );
  section(
    'Events',
    ['TRACER', 'MAP', 'STRUCT', 'SIZE', 'FIELD', 'OFFSET', 'SIZE', 'TYPE'],
    found.events.flatMap((event) =>
      event.fields.map((field) => [event.name, event.map, event.struct, event.size, field.name, field.offset, field.size, field.type]),
    ),
  );
  section(
    'Relocations',
    ['SECTION', 'INSN', 'KIND', 'TARGET'],
    found.relocations.map((each) => [each.section, each.insn, each.kind, each.target]),
  );
  section(
    'CO-RE relocations',
    ['SECTION', 'INSN', 'KIND', 'ACCESS'],
    found.coreRelocations.map((each) => [each.section, each.insn, each.kind, each.access]),
  );
  for (const code of found.disassembly ?? [])
    parts.push(`Disassembly of ${printable(code.program)} (${printable(code.section)})\n${code.text}`);
  return `${parts.map((part) => part.trimEnd()).join('\n\n')}\n`;
}

function sectionTypeName(type: number): string {
  return Object.entries(SHT).find(([, value]) => value === type)?.[0] ?? `0x${type.toString(16)}`;
}
