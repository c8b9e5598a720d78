// Every program of every object in the repository, linked by us and by libbpf: the instructions must be the same. The oracle
// is scripts/oracle.mjs: test/oracle/relocate.c with the newest libbpf that Debian offers.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { type LinkFeature, linkProgram, type MapSpec, openObject } from '../../src/bpf/object/index.ts';
import { BPF_MAP_TYPE } from '../../src/bpf/uapi/index.ts';
import type { Btf } from '../../src/btf/btf.ts';
import { btfExtFromElf, btfFromElf, minimizeBtf } from '../../src/btf/index.ts';
import { toHex } from '../../src/bytes/text.ts';
import { parseElf } from '../../src/elf/index.ts';
import { runningKernel } from './target.ts';

interface OracleProgram {
  readonly name: string;
  readonly insns: string | null;
  readonly attachBtfId?: number;
}

interface OracleMap {
  readonly name: string;
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly numaNode: number;
  readonly mapExtra: string;
}

interface OracleObject {
  readonly opened: boolean;
  readonly maps: readonly OracleMap[];
  readonly programs: readonly (OracleProgram & { readonly section: string; readonly type: number; readonly attachType: number })[];
  readonly alone?: readonly { readonly programs: readonly OracleProgram[] }[];
}

const root = fileURLToPath(new URL('../../../', import.meta.url));
const built = spawnSync(process.execPath, [path.join(root, 'scripts', 'oracle.mjs'), '--where'], { encoding: 'utf8' });
/** The path of the compiled oracle; '' where it cannot be built. */
const oracle = built.stdout.trim();
const version = oracle === '' ? '' : execFileSync(oracle, ['--version'], { encoding: 'utf8' });

const asked = new Map<string, OracleObject>();

function libbpf(file: string, target: string | null): OracleObject {
  const options = ['--fake-maps', '--no-pin', '--each', ...(target === null ? [] : ['--btf', path.resolve(root, target)])];
  const question = [...options, path.join(root, file)];
  let answer = asked.get(question.join(' '));
  if (answer === undefined) {
    answer = JSON.parse(execFileSync(oracle, question, { encoding: 'utf8', maxBuffer: 1 << 28 })) as OracleObject;
    asked.set(question.join(' '), answer);
  }
  return answer;
}

function btfOf(file: string): Btf {
  const btf = btfFromElf(parseElf(readFileSync(path.join(root, file))));
  if (btf === null) throw new Error(`${file} has no BTF`);
  return btf;
}

type MapFacts = readonly (string | number)[];

/** A struct_ops map's value is the kernel's struct, known when it is loaded; a perf event array of no size gets one for each CPU then. */
function theirMap(map: OracleMap): MapFacts {
  const { name, type, keySize, valueSize, maxEntries, flags, numaNode, mapExtra } = map;
  const isLater = type === BPF_MAP_TYPE.BPF_MAP_TYPE_STRUCT_OPS;
  const entries = type === BPF_MAP_TYPE.BPF_MAP_TYPE_PERF_EVENT_ARRAY ? 0 : maxEntries;
  return [name, type, keySize, isLater ? 0 : valueSize, entries, flags, numaNode, mapExtra];
}

function ourMap({ libbpfName, mapExtra, ...map }: MapSpec): MapFacts {
  return theirMap({ ...map, name: libbpfName, mapExtra: String(mapExtra) });
}

/** How many programs libbpf relocated; each must be the same with us. */
function compare(t: Test, file: string, target: string | null): number {
  const kernel = runningKernel(target === null ? null : btfOf(target), has);
  const { opened, alone = [] } = libbpf(file, target);
  if (!opened) return 0;
  const spec = openObject(readFileSync(path.join(root, file)), { name: path.basename(file).replace(/\..*/, '') });
  let compared = 0;
  for (const { programs } of alone) {
    const [wanted] = programs;
    // What libbpf refuses is compared in the tests of each part: here we may take more than it.
    if (wanted === undefined || wanted.insns === null) continue;
    const program = spec.programs.find(({ name }) => name === wanted.name);
    if (program === undefined) {
      t.fail(`${file} has a program ${wanted.name}`);
      continue;
    }
    const result = linkProgram(spec, program, kernel);
    t.equal(result.ok ? toHex(result.program.insns) : result.error.message, wanted.insns, `${file} ${wanted.name}`);
    if (result.ok) t.equal(result.program.attachBtfId, wanted.attachBtfId, `${file} ${wanted.name} attach_btf_id`);
    compared++;
  }
  return compared;
}

const objects = ['fixtures', 'gadgets'].flatMap((folder) =>
  readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.bpf.o'))
    .map((file) => path.join(folder, file)),
);

const skip = built.status === 0 ? false : `the oracle cannot be built: ${built.stderr.trim().split('\n').at(-1)}`;
// From 1.8 on libbpf puts the globals of an arena at its end.
const arenaEnd = Number(/^v1\.(\d+)/.exec(version)?.[1]) >= 8;
const has = (feature: LinkFeature): boolean => feature !== 'ldimm64_full_range_off' || arenaEnd;
const rootOnly = process.getuid?.() === 0 ? false : 'maps can be created by root only';

t.test('our instructions are libbpf’s', { skip: skip || rootOnly }, async (t) => {
  t.match(version, /^v\d+\.\d+/);
  t.test('for the running kernel', async (t) => {
    let compared = 0;
    for (const file of objects) compared += compare(t, file, null);
    t.ok(compared > 100, `${compared} programs of ${objects.length} objects`);
  });
  t.test('types of programs and parameters of maps', async (t) => {
    let maps = 0;
    for (const file of objects) {
      const { opened, ...theirs } = libbpf(file, null);
      if (!opened) continue;
      const options = { name: path.basename(file).replace(/\..*/, ''), strict: true };
      const ours = openObject(readFileSync(path.join(root, file)), options);
      t.same(
        // Section names that came after the libbpf at hand have no type there.
        ours.programs.map(({ name, sectionName, type }, i) => [
          name,
          sectionName.replace(/^\?/, ''),
          theirs.programs[i]?.type === 0 ? 0 : type,
        ]),
        theirs.programs.map(({ name, section, type }) => [name, section, type]),
        file,
      );
      t.same(ours.maps.map(ourMap), theirs.maps.map(theirMap), file);
      maps += ours.maps.length;
    }
    t.ok(maps > 100, `${maps} maps`);
  });
  for (const target of ['fixtures/core/target.o', 'fixtures/core/cases.bpf.o']) {
    t.test(`CO-RE cases for ${target}`, async (t) => t.ok(compare(t, 'fixtures/core/cases.bpf.o', target) > 140));
  }
  t.test('with the part of the kernel’s BTF that an object needs', async (t) => {
    const folder = mkdtempSync(path.join(tmpdir(), 'rawbpf-'));
    t.teardown(() => rmSync(folder, { recursive: true }));
    for (const file of objects.filter((name) => name.startsWith('gadgets'))) {
      const elf = parseElf(readFileSync(path.join(root, file)));
      const btf = btfFromElf(elf);
      const ext = btf === null ? null : btfExtFromElf(elf, btf);
      const vmlinux = runningKernel(null, has).vmlinuxBtf();
      if (btf === null || ext === null || vmlinux === null) throw new Error(`${file} has no BTF`);
      const part = path.join(folder, 'part.btf');
      writeFileSync(part, minimizeBtf(vmlinux, [{ btf, ext }]));
      t.same(libbpf(file, part).alone, libbpf(file, null).alone, file);
    }
  });
});
