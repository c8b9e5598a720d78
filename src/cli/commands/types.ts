import path from 'node:path';
import { openObject } from '../../bpf/object/index.ts';
import { declareTypes } from '../../btf/declare/index.ts';
import { RawbpfError } from '../../error.ts';
import { discoverGadget } from '../../gadget/index.ts';
import { commonOptions, type Command } from '../command.ts';
import { parseOptions, usage } from '../options.ts';
import { readFile } from '../read-input.ts';

/** `rawbpf types`: TypeScript declarations of what an object's events, maps and variables hold. */
export const typesCommand: Command = {
  name: 'types',
  summary: "write TypeScript declarations of an object's events, maps and variables",
  usage: 'types OBJECT > object.d.ts',
  description:
    "Prints a .d.ts with an interface for every event, map key, map value and variable of the object, as rawbpf's decoders give them.",
  options: [],
  examples: ['rawbpf types program.bpf.o > program.d.ts'],
  run({ args, stdout }) {
    const { options: given } = parseOptions(args, commonOptions);
    const [file, ...more] = given.operands;
    if (file === undefined || more.length > 0) throw usage('types takes one object');
    const spec = openObject(readFile(file), { name: path.basename(file).replace(/\.o$/, '') });
    const { btf } = spec;
    if (btf === null)
      throw new RawbpfError({ code: 'E_BTF_MISSING', what: `${file} has no BTF, so its types are not known`, next: 'compile it with -g' });
    const { tracers, iterators } = discoverGadget(spec);
    const isMarker = (name: string): boolean => /^(__)?gadget_|^unusedevent_/.test(name);
    stdout.write(
      declareTypes(btf, [], {
        comment: [`What ${path.basename(file)} holds, as rawbpf decodes it.`],
        events: [...tracers, ...iterators].map(({ name, typeId }) => ({ name, typeId })),
        maps: spec.maps
          .filter((map) => map.keyTypeId + map.valueTypeId > 0 && map.origin === 'btf')
          .map(({ name, keyTypeId, valueTypeId }) => ({ name, keyTypeId, valueTypeId })),
        variables: spec.variables.filter(({ name, typeId }) => typeId > 0 && !isMarker(name)).map(({ name, typeId }) => ({ name, typeId })),
      }),
    );
    return Promise.resolve(0);
  },
};
