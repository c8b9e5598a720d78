import { linkObjects } from '../../bpf/object/index.ts';
import { commonOptions, outputOption, type Command } from '../command.ts';
import { jsonText } from '../json-text.ts';
import { parseOptions, usage } from '../options.ts';
import { readFile } from '../read-input.ts';
import { writeFile } from '../write-output.ts';

const formats = ['none', 'json'] as const;
const options = [outputOption(formats)];

/** `rawbpf link`: several objects into one. */
export const linkCommand: Command = {
  name: 'link',
  summary: 'link compiled objects into one',
  usage: 'link OUT A.o B.o... [-o none|json]',
  description:
    "Links compiled objects into the file OUT, as libbpf's static linker does: sections of one name are put one after another,\n" +
    'externs find their definitions, weak definitions give way to strong ones, and globals have to agree in their types.\n' +
    'With json: one object {object, inputs, size}; else nothing on stdout.',
  options,
  examples: ['rawbpf link program.bpf.o main.bpf.o helpers.bpf.o'],
  run({ args, stdout }) {
    const { options: given } = parseOptions(args, [...options, ...commonOptions]);
    const [out, ...inputs] = given.operands;
    if (out === undefined || inputs.length === 0)
      throw usage('link needs a file to write and objects to link', 'rawbpf link OUT A.o B.o...');
    const format = given.flag('json') ? 'json' : given.choice('output', formats);
    // Everything is read and linked before OUT is touched.
    const linked = linkObjects(inputs.map((name) => ({ name, bytes: readFile(name) })));
    writeFile(out, linked);
    if (format === 'json') stdout.write(`${jsonText({ object: out, inputs, size: linked.length })}\n`);
    return Promise.resolve(0);
  },
};
