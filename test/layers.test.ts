// Reads every import of src/: layers may only import what is above them, and pure layers nothing of Node.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

/** From the bottom of the stack to its top; the longest prefix that fits a file names its layer. */
const layers: readonly (readonly [name: string, pure: boolean, prefixes: readonly string[]])[] = [
  ['bytes', true, ['error.ts', 'bytes/', 'bpf/uapi/']],
  ['elf', true, ['elf/']],
  ['btf', true, ['btf/']],
  ['bpf/insn', true, ['bpf/insn/']],
  ['bpf/object', true, ['bpf/object/']],
  ['sys', false, ['sys/']],
  ['bpf', false, ['bpf/']],
  ['gadget', false, ['gadget/']],
  ['enrich', false, ['enrich/']],
  ['output', false, ['output/']],
  ['explain', false, ['explain/']],
  ['cli', false, ['cli/']],
  ['index', false, ['index.ts']],
];

/** The one file that may import koffi. */
const koffiBackend = 'sys/koffi-backend.ts';
/** What only Node has. TextDecoder, DataView and the like are in every browser. */
const nodeGlobals = /(?<![.\w$'"`])(?:Buffer|process|require|__dirname|__filename|setImmediate|clearImmediate)(?![\w$'"`]|\s*[?]?:)/;

const source = fileURLToPath(new URL('../../src/', import.meta.url));

function filesIn(folder: string): string[] {
  return readdirSync(path.join(source, folder), { withFileTypes: true }).flatMap((entry) => {
    const name = path.posix.join(folder, entry.name);
    if (entry.isDirectory()) return filesIn(name);
    return name.endsWith('.ts') ? [name] : [];
  });
}

function layerOf(file: string): number {
  let best = -1;
  let length = 0;
  layers.forEach(([, , prefixes], i) => {
    for (const prefix of prefixes) {
      if (prefix.length > length && (prefix.endsWith('/') ? file.startsWith(prefix) : file === prefix)) [best, length] = [i, prefix.length];
    }
  });
  return best;
}

/** The code without comments, and without the contents of strings. */
function bare(text: string): { code: string; withStrings: string } {
  const withStrings = text.replace(/\/\*[\s\S]*?\*\/|(?<=^|[^:'"`\\])\/\/.*$/gm, '');
  return { withStrings, code: withStrings.replace(/'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"/g, "''") };
}

/** Every module that a file names: imports, exports from, dynamic imports, and createRequire's calls. */
function importsOf(text: string): string[] {
  const pattern =
    /\b(?:import|export)\b[^;'"]*?\bfrom\s*['"]([^'"]+)['"]|\bimport\s*\(?\s*['"]([^'"]+)['"]|\brequire\w*\s*\(\s*['"]([^'"]+)['"]/gi;
  return [...text.matchAll(pattern)].map((match) => match[1] ?? match[2] ?? match[3] ?? '');
}

/** What is wrong with one file. */
function complaints(file: string, text: string): string[] {
  const layer = layerOf(file);
  const row = layers[layer];
  if (row === undefined) return ['it belongs to no layer'];
  const [name, pure] = row;
  const { code, withStrings } = bare(text);
  const found: string[] = [];
  for (const specifier of importsOf(withStrings)) {
    if (specifier.startsWith('.')) {
      const target = path.posix.join(path.posix.dirname(file), specifier);
      const targetLayer = layerOf(target);
      if (targetLayer < 0) found.push(`${specifier} belongs to no layer`);
      else if (targetLayer > layer) found.push(`${name} imports ${layers[targetLayer]?.[0]}: ${specifier}`);
      if (!specifier.endsWith('.ts')) found.push(`${specifier} lacks its .ts`);
    } else {
      if (pure) found.push(`the pure layer ${name} imports ${specifier}`);
    }
  }
  if (/(?:\(\s*|\bfrom\s*|\bimport\s*)['"]koffi['"]/.test(withStrings) && file !== koffiBackend) found.push('it imports koffi');
  const global = pure ? nodeGlobals.exec(code) : null;
  if (global !== null) found.push(`the pure layer ${name} uses ${global[0]}`);
  return found;
}

t.test('every file keeps to its layer', (t) => {
  const files = filesIn('');
  t.ok(files.length > 20, `${files.length} files`);
  const wrong = files.flatMap((file) => complaints(file, readFileSync(path.join(source, file), 'utf8')).map((why) => `${file}: ${why}`));
  t.same(wrong, []);
  t.ok(files.includes(koffiBackend), 'the one file that may import koffi is there');
  t.end();
});

const samples: readonly (readonly [file: string, text: string, complaint: RegExp | null])[] = [
  ['elf/a.ts', "import { Cursor } from '../bytes/cursor.ts';", null],
  ['elf/a.ts', "import type { Btf } from '../btf/btf.ts';", /elf imports btf/],
  ['bytes/a.ts', "export * from '../elf/file.ts';", /bytes imports elf/],
  ['btf/a.ts', "import {\n  a,\n  b,\n} from '../bpf/insn/decode.ts';", /btf imports bpf\/insn/],
  ['bpf/object/a.ts', "import { sys } from '../../sys/sys.ts';", /bpf\/object imports sys/],
  ['bpf/object/a.ts', "import { X } from '../uapi/index.ts';", null],
  ['sys/a.ts', "const { x } = await import('../bpf/map.ts');", /sys imports bpf/],
  ['btf/a.ts', "import { readFileSync } from 'node:fs';", /pure layer btf imports node:fs/],
  ['btf/a.ts', "import 'yaml';", /pure layer btf imports yaml/],
  ['btf/a.ts', 'const a = Buffer.from(b);', /uses Buffer/],
  ['btf/a.ts', 'if (process.platform) a();', /uses process/],
  ['btf/a.ts', '/** as process.env and Buffer */ const a = { process: 1 }; a.process; // Buffer', null],
  ['btf/a.ts', "const a = 'the process';", null],
  ['sys/a.ts', "const koffi = require('koffi');", /imports koffi/],
  ['sys/a.ts', "const koffi = createRequire(import.meta.url)('koffi');", /imports koffi/],
  ['bpf/a.ts', "import koffi from 'koffi';", /imports koffi/],
  [koffiBackend, "import koffi from 'koffi';", null],
  ['sys/a.ts', "import { a } from './b';", /lacks its \.ts/],
  ['somewhere/a.ts', '', /no layer/],
];

t.test('the check sees what it is there for', (t) => {
  for (const [file, text, complaint] of samples) {
    const found = complaints(file, text).join('; ');
    if (complaint === null) t.equal(found, '', `${file}: ${text}`);
    else t.match(found, complaint, `${file}: ${text}`);
  }
  t.end();
});
