// Writes docs/helper-api.md from the comments in include/gadget/*.h.
//
//   node scripts/gen-helper-api.mjs [--check | --stdout]
//
// --check writes nothing: it ends with 1 where the page is not what the headers say, or a public name has no comment, cost or kernel.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const folder = path.join(root, 'include', 'gadget');
const page = path.join(root, 'docs', 'helper-api.md');

/** In the order of the page: what most gadgets need goes first. */
/** @type {readonly (readonly [title: string, headers: readonly string[]])[]} */
const groups = [
  ['Sending events', ['buffer.h', 'strings.h', 'scratch.h']],
  ['What user space finds by name', ['macros.h', 'types.h']],
  ['Who did it, and who is wanted', ['common.h', 'mntns.h', 'mntns_filter.h', 'filter.h', 'self.h']],
  ['Sockets and packets', ['sockets-map.h', 'endpoints.h', 'tcp_owners.h', 'tcp.h', 'packetfilter.h', 'packet.h']],
  ['Stacks', ['kernel_stack_map.h', 'user_stack_map.h']],
  ['Files', ['filesystem.h']],
  ['Machines and kernels', ['syscall.h', 'regs.h', 'core_fixes.bpf.h', 'libbpf_compat.h']],
  ['Small helpers', ['maps.bpf.h', 'bits.bpf.h', 'fnv1a.h']],
  ['GPUs', ['gpu_types.h', 'gpu_bridge_maps.h']],
];

/** Lines of a block comment, without its stars. */
const commentText = (block) =>
  block
    .replace(/^\/\*\*?/, '')
    .replace(/\*\/$/, '')
    .split('\n')
    .map((line) => line.replace(/^\s*\* ?/, '').trimEnd())
    .join('\n')
    .trim();

/** What the code after a comment declares: kind, names and how it is written; null for parts of something else. */
function declarationOf(code) {
  // A name may be defined only where it is not defined yet.
  const text = code.replace(/^(?:\s*#\s*(?:ifn?def|if|elif|endif|define __)[^\n]*\n)+/, '').trimStart();
  let match = /^#\s*define\s+(\w+)(\([^)]*\))?[ \t]*([^\n\\]*)/.exec(text);
  if (match !== null)
    return {
      kind: match[2] === undefined ? 'constant' : 'macro',
      name: match[1],
      form: `${match[1]}${match[2] ?? ` ${match[3].trim()}`.trimEnd()}`,
    };
  match = /^typedef\s+([^;{]+?)\s*(\w+);/.exec(text);
  if (match !== null) return { kind: 'type', name: match[2], form: `typedef ${match[1]} ${match[2]};` };
  match = /^(struct|union|enum)\s+(\w+)\s*(?::\s*\w+\s*)?\{/.exec(text);
  if (match !== null) return { kind: match[1], name: match[2], form: body(text) };
  match = /^struct\s*\{[\s\S]*?\n\}\s*(\w+)\s+SEC\("\.maps"\);/.exec(text);
  if (match !== null) return { kind: 'map', name: match[1], form: match[0] };
  match = /^const volatile\s+([^;=]+?)(\[[^\]]*\])?\s*=\s*([^;]+);/.exec(text);
  if (match !== null) {
    const [, left, array = ''] = match;
    return { kind: 'parameter', name: left.split(/[\s*]+/).at(-1), form: `${left}${array} = ${match[3]}` };
  }
  match = /^static ([^;=(]*\(\*(\w+)\)\([^)]*\))/.exec(text);
  if (match !== null) return { kind: 'function', name: match[2], form: match[1] };
  match = /^((?:static|__GADGET_\w+|extern)[\s\S]*?)\b(\w+)(\((?:[^()]|\([^()]*\))*\))\s*(?:__\w+\s*)?[{;]/.exec(text);
  if (match === null) return null;
  const form = `${match[1]}${match[2]}${match[3]}`
    .replace(/\s+/g, ' ')
    .replace(/static |__always_inline |__noinline |__GADGET_\w+ |__attribute__\(\(.*?\)\) /g, '')
    .replaceAll(/\* (?=\w)/g, '*');
  return { kind: 'function', name: match[2], form };
}

/** A struct or enum as it stands, up to the brace that closes it. */
function body(text) {
  let depth = 0;
  for (let i = text.indexOf('{'); i < text.length; i++) {
    if (text[i] === '{') depth++;
    if (text[i] === '}' && --depth === 0) return `${text.slice(0, text.indexOf(';', i) + 1)}`;
  }
  return text;
}

/** Prose as Markdown: angle brackets are text, what is indented is code. */
const prose = (text) =>
  text
    .split('\n')
    .map((line) =>
      /^ {2,}/.test(line) ? `    ${line.trimStart()}` : line.replaceAll('<', '&lt;').replaceAll('*', '\\*').replaceAll('__', '\\_\\_'),
    )
    .join('\n');

const kernelOf = (text) => /Kernel: ([^\n]*?)\.(?:\s|$)/.exec(text.replaceAll('\n', ' '))?.[1] ?? null;
/** The sentence that says what it costs. */
const costOf = (text) =>
  text
    .replaceAll('\n', ' ')
    .split(/(?<=[.:;])\s+/)
    .find((sentence) =>
      /\b(?:reads?|lookups?|costs?|walk|cop(?:y|ies)|call|operations?|comparisons?|atomic|updates?|bytes per CPU|MB|nothing|instructions?|hash(?:es)?|multiplications?|steps?)\b/i.test(
        sentence.replace(/Kernel: .*/, ''),
      ),
    ) ?? null;

const problems = [];
const out = [];
const print = (line = '') => out.push(line);

print('# The gadget helper API');
print();
print('<!-- Made by scripts/gen-helper-api.mjs from the comments in include/gadget: change those. -->');
print();
print(
  'The headers for gadget authors, in include/gadget: `#include <gadget/NAME>`, compiled with `-I include/gadget/amd64 -I include` (or',
);
print('arm64) and the headers of libbpf 1.1 or later. What they declare for user space is told in [gadget-yaml.md](gadget-yaml.md).');
print();
print('Each name is followed by how it is written, the oldest Linux it works on, and what it says of itself, its cost among that. Where a');
print('name says nothing of the kernel or of its cost, what its header says holds. Types, constants and marks cost nothing at run time.');
print();

const listed = groups.flatMap(([, headers]) => headers);
for (const header of readdirSync(folder).filter((name) => name.endsWith('.h'))) {
  if (!listed.includes(header)) problems.push(`${header} is in no group of scripts/gen-helper-api.mjs`);
}

for (const [title, headers] of groups) {
  print(`## ${title}`);
  print();
  for (const header of headers) {
    const text = readFileSync(path.join(folder, header), 'utf8');
    const intro = [...text.slice(0, text.indexOf('#ifndef')).matchAll(/^\/\/ ?(.*)$/gm)]
      .map((match) => match[1])
      .filter((line) => !line.startsWith('SPDX'));
    const about = intro.join('\n').trim();
    print(`### gadget/${header}`);
    print();
    if (about !== '') print(`${prose(about)}\n`);
    // Comments within a struct belong to its form.
    const comments = [...text.matchAll(/^\/\*\*[\s\S]*?\*\//gm)];
    for (const comment of comments) {
      const declared = declarationOf(text.slice(comment.index + comment[0].length).replace(/^\s*\n/, ''));
      if (declared === null) {
        problems.push(`${header}: what is declared after this comment is not understood: ${comment[0].slice(0, 60)}`);
        continue;
      }
      if (declared.name.startsWith('__')) continue;
      const says = commentText(comment[0]);
      const kernel = kernelOf(says) ?? kernelOf(about);
      if (kernel === null) problems.push(`${header}: ${declared.name} says no kernel, nor does the header`);
      if (['function', 'macro'].includes(declared.kind) && costOf(says) === null && costOf(about) === null)
        problems.push(`${header}: ${declared.name} says no cost, nor does the header`);
      print(`#### ${declared.name}`);
      print();
      print('```c');
      print(declared.form.trim());
      print('```');
      print();
      print(`${declared.kind[0].toUpperCase()}${declared.kind.slice(1)}. Linux: ${kernel ?? '?'}.`);
      print();
      const bullets = prose(says).replace(/^@(\S+) /gm, (_, name) => `- \`${name.replaceAll('\\_', '_')}\`: `);
      // Parameters make a list of their own.
      print(
        bullets
          .replace(/(?<!\n)\n(?=- `)/, '\n\n')
          .replace(/^(- `[^\n]*)\n(?!- `|\n)/gm, '$1\n\n')
          .replace(/(- `[^\n]*)\n\n(?=- `)/g, '$1\n'),
      );
      print();
    }
    // Names that no comment is before: constants that belong together, marks of older forms.
    const documented = new Set(
      comments.map((comment) => declarationOf(text.slice(comment.index + comment[0].length).replace(/^\s*\n/, ''))?.name),
    );
    const functions = [...text.matchAll(/^(?:static [^\n=;]*?\b|#define )((?:gadget_|GADGET_)\w+)\(/gm)].map((match) => match[1]);
    for (const name of new Set(functions)) if (!documented.has(name)) problems.push(`${header}: ${name} has no comment`);
  }
}

const { values } = parseArgs({ options: { check: { type: 'boolean', default: false }, stdout: { type: 'boolean', default: false } } });
const made = `${out
  .join('\n')
  .replace(/\n{3,}/g, '\n\n')
  .trimEnd()}\n`;
for (const problem of problems) console.error(`gen-helper-api: ${problem}`);
if (values.stdout) process.stdout.write(made);
else if (!values.check) writeFileSync(page, made);
else if (readFileSync(page, 'utf8') !== made) {
  console.error('gen-helper-api: docs/helper-api.md is not what the headers say: run node scripts/gen-helper-api.mjs');
  process.exitCode = 1;
}
if (problems.length > 0) process.exitCode = 1;
