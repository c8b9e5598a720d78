import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { tryPrograms } from '../../../src/bpf/collection/check.ts';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { openObject } from '../../../src/bpf/object/open.ts';
import type { MapSpec, ObjectSpec } from '../../../src/bpf/object/spec.ts';
import { BPF_MAP_TYPE } from '../../../src/bpf/uapi/index.ts';

const object = readFileSync(new URL('../../../../gadgets/trace_open/program.bpf.o', import.meta.url));
const descriptors = (): number => readdirSync('/proc/self/fd').length;

/** An object whose programs are all optional. */
function optional(): ObjectSpec {
  const spec = openObject(object);
  for (const program of spec.programs) program.autoload = false;
  return spec;
}

/** What is made in the kernel for trying an object, and the kernel's tags of its programs. */
function tried(spec: ObjectSpec): { readonly maps: number; readonly btfs: number; readonly tags: readonly (string | null)[] } {
  const made = { map: 0, btf: 0 };
  const kernel = new Kernel({
    trace: ({ step }) => {
      if (step === 'map' || step === 'btf') made[step]++;
    },
  });
  try {
    const { programs } = tryPrograms(kernel, spec);
    for (const { name, error } of programs) t.equal(error, null, name);
    return { maps: made.map, btfs: made.btf, tags: programs.map(({ tag }) => tag) };
  } finally {
    kernel.close();
  }
}

t.test('programs that are tried alone share what is the same for each, and are to the kernel what they are together', async (t) => {
  const whole = tried(openObject(object));
  const before = descriptors();
  const lone = tried(optional());
  t.ok(lone.tags.length > 2);
  t.same(lone.tags, whole.tags);
  // The object as a whole, of which no program loads, and all programs alone.
  t.same([lone.maps, lone.btfs], [optional().maps.length * 2, 2]);
  t.equal(descriptors(), before, 'nothing stays open');
});

t.test('a map that belongs to the first program that uses it is made for each', async (t) => {
  const spec = optional();
  const [first] = spec.maps;
  if (first === undefined) throw new Error('the object has maps');
  const array = {
    type: BPF_MAP_TYPE.BPF_MAP_TYPE_PROG_ARRAY,
    keySize: 4,
    valueSize: 4,
    maxEntries: 1,
    flags: 0,
    keyTypeId: 0,
    valueTypeId: 0,
  };
  const slots: MapSpec = { ...first, ...array, name: 'slots', libbpfName: 'slots', data: null, slots: [] };
  const { maps } = tried({ ...spec, maps: [...spec.maps, slots] });
  t.equal(maps, (spec.maps.length + 1) * (spec.programs.length + 1));
});
