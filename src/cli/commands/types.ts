import path from 'node:path';
import { openObject } from '../../bpf/object/index.ts';
import { declareTypes } from '../../btf/declare/index.ts';
import { RawbpfError } from '../../error.ts';
import { discoverGadget } from '../../gadget/index.ts';
import { commonOptions, outputOption, type Command } from '../command.ts';
import { jsonText } from '../json-text.ts';
import { parseOptions, usage } from '../options.ts';
import { parseFile } from '../read-input.ts';

const formats = ['ts', 'json'] as const;
const options = [outputOption(formats)];

/** `rawbpf types`: TypeScript declarations of what an object's events, maps and variables hold. */
export const typesCommand: Command = {
  name: 'types',
  summary: "write TypeScript declarations of an object's events, maps and variables",
  usage: 'types OBJECT [-o ts|json] > object.d.ts',
  description:
    "Prints a .d.ts with an interface for every event, map key, map value and variable of the object, as rawbpf's decoders give them.\n" +
    'With json: one object {object, declarations}.',
  options,
  examples: ['rawbpf types program.bpf.o > program.d.ts'],
  run({ args, stdout }) {
    const { options: given } = parseOptions(args, [...options, ...commonOptions]);
    const [file, ...more] = given.operands;
    if (file === undefined || more.length > 0) throw usage('types takes one object');
    const spec = parseFile(file, (bytes) => openObject(bytes, { name: path.basename(file).replace(/\.o$/, '') }));
    const { btf } = spec;
    if (btf === null)
      throw new RawbpfError({ code: 'E_BTF_MISSING', what: `${file} has no BTF, so its types are not known`, next: 'compile it with -g' });
    const { tracers, iterators } = discoverGadget(spec);
    const isMarker = (name: string): boolean => /^(__)?gadget_|^unusedevent_/.test(name);
    const declarations = declareTypes(btf, [], {
      comment: [`What ${path.basename(file)} holds, as rawbpf decodes it.`],
      events: [...tracers, ...iterators].map(({ name, typeId }) => ({ name, typeId })),
      maps: spec.maps
        .filter((map) => map.keyTypeId + map.valueTypeId > 0 && map.origin === 'btf')
        .map(({ name, keyTypeId, valueTypeId }) => ({ name, keyTypeId, valueTypeId })),
      variables: spec.variables.filter(({ name, typeId }) => typeId > 0 && !isMarker(name)).map(({ name, typeId }) => ({ name, typeId })),
    });
    const format = given.flag('json') ? 'json' : given.choice('output', formats);
    stdout.write(format === 'json' ? `${jsonText({ object: file, declarations })}\n` : declarations);
    return Promise.resolve(0);
  },
};
