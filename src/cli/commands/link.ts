import { writeFileSync } from 'node:fs';
import { linkObjects } from '../../bpf/object/index.ts';
import { commonOptions, type Command } from '../command.ts';
import { parseOptions, usage } from '../options.ts';
import { readFile } from '../read-input.ts';

/** `rawbpf link`: several objects into one. */
export const linkCommand: Command = {
  name: 'link',
  summary: 'link compiled objects into one',
  usage: 'link OUT A.o B.o...',
  description:
    "Links compiled objects into the file OUT, as libbpf's static linker does: sections of one name are put one after another,\n" +
    'externs find their definitions, weak definitions give way to strong ones, and globals have to agree in their types.',
  options: [],
  examples: ['rawbpf link program.bpf.o main.bpf.o helpers.bpf.o'],
  run({ args }) {
    const { options: given } = parseOptions(args, commonOptions);
    const [out, ...inputs] = given.operands;
    if (out === undefined || inputs.length === 0)
      throw usage('link needs a file to write and objects to link', 'rawbpf link OUT A.o B.o...');
    // Everything is read and linked before OUT is touched.
    const linked = linkObjects(inputs.map((name) => ({ name, bytes: readFile(name) })));
    writeFileSync(out, linked);
    return Promise.resolve(0);
  },
};
