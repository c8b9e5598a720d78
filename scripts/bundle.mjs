// Makes the program that package.json's `bin` names out of the compiled modules:
//   build/cli/main.cjs     all commands in one script, as a function of what CommonJS gives a module
//   build/cli/check.cjs    one command alone, for those that are over in no time: V8 takes over less kept code (and btf.cjs)
//   build/cli/rawbpf.cjs   runs it, with the code that V8 compiled in an earlier run (src/cli/launcher.ts)
//   node scripts/bundle.mjs [FOLDER]      FOLDER: where to, instead of build/cli; in any folder of the checkout's depth
// Node finds, reads, compiles and links 350 modules one by one otherwise, at each start (docs/performance.md).
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const modules = path.join(root, 'build', 'src');
const folder = process.argv[2] === undefined ? path.join(root, 'build', 'cli') : path.resolve(process.argv[2]);

/** Whose code is in the bundle, beside our own. */
const notice = ['yaml']
  .map((name) => `${name}:\n${readFileSync(path.join(root, 'node_modules', name, 'LICENSE'), 'utf8').trim()}\n`)
  .join('\n');

/** A module finds files beside itself by its URL: where it would be, were it not in the bundle. */
const urls = {
  name: 'urls',
  setup({ onLoad }) {
    onLoad({ filter: /\.js$/ }, ({ path: file }) => {
      const text = readFileSync(file, 'utf8');
      if (!file.startsWith(modules + path.sep) || !text.includes('import.meta.url')) return null;
      const place = JSON.stringify(path.relative(folder, file));
      return { contents: text.replaceAll('import.meta.url', `bundledUrl(${place}, __filename)`) };
    });
  },
};

/** Commands with a script of their own. */
const alone = ['btf', 'check'];

/** Leaves but one command in main.js, and that imported as anything else: nothing is wrapped to be run later. */
const only = (command) => ({
  name: 'only',
  setup({ onLoad }) {
    onLoad({ filter: /\/cli\/main\.js$/ }, ({ path: file }) => {
      const row = new RegExp(`^ *\\['${command}', async \\(\\) => \\(await import\\('(.*)'\\)\\)\\.(\\w+)\\],$`, 'm');
      const text = readFileSync(file, 'utf8');
      const [, from, name] = row.exec(text) ?? [];
      if (name === undefined) throw new Error(`${file} has no command ${command}`);
      const rows = /^ *\['[\w-]+', async \(\) => .*\],\n/gm;
      const contents = `import { ${name} } from '${from}';\n${text.replace(row, `    ['${command}', () => Promise.resolve(${name})],`).replace(rows, '')}`;
      const place = JSON.stringify(path.relative(folder, file));
      return { contents: contents.replaceAll('import.meta.url', `bundledUrl(${place}, __filename)`) };
    });
  },
});

/** Modules of Node that are in memory in any case, or used at every start. */
const early = new Set(['fs', 'path', 'url', 'buffer', 'process', 'events', 'v8', 'vm', 'os']);

/** Other modules of Node are loaded when something of them is used: http2 alone takes 8 ms and 2 MB. */
const lateBuiltins = {
  name: 'late-builtins',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^node:/, namespace: 'file' }, ({ path: name }) =>
      early.has(name.slice('node:'.length)) ? null : { path: name, namespace: 'late' },
    );
    onLoad({ filter: /.*/, namespace: 'late' }, ({ path: name }) => {
      const names = Object.keys(createRequire(import.meta.url)(name));
      return { contents: `lateBuiltin(exports, require, ${JSON.stringify(name)}, ${JSON.stringify(names.join(' '))});` };
    });
  },
};

const common = {
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node20.19',
  // Every name stays what it is, and lines short: a stack trace can be read without a map. White space is half a megabyte in memory.
  minifyWhitespace: true,
  lineLimit: 160,
  keepNames: false,
  // One byte a character in memory.
  charset: 'ascii',
  // A script of node:vm has no import() of its own.
  supported: { 'dynamic-import': false },
  write: false,
  logLevel: 'warning',
  plugins: [urls, lateBuiltins],
  inject: [path.join(root, 'scripts', 'bundled.mjs')],
};

const script = (plugins) =>
  build({
    ...common,
    entryPoints: [path.join(modules, 'cli', 'main.js')],
    plugins: [...plugins, ...common.plugins],
    // koffi is found at run time, beside us.
    external: ['koffi'],
    banner: { js: `(function (exports, require, module, __filename, __dirname) {\n/*!\n${notice.replaceAll('*/', '* /')}*/` },
    footer: { js: '})' },
  });
const scripts = new Map();
for (const name of ['main', ...alone]) {
  const { outputFiles } = await script(name === 'main' ? [] : [only(name)]);
  scripts.set(name, outputFiles[0].contents);
}
const idOf = (contents) => createHash('sha256').update(contents).digest('hex').slice(0, 16);
const launcher = await build({
  ...common,
  entryPoints: [path.join(modules, 'cli', 'launcher.js')],
  define: {
    'import.meta.dirname': '__dirname',
    BUNDLE_IDS: JSON.stringify(Object.fromEntries([...scripts].map(([name, contents]) => [name, idOf(contents)]))),
  },
  banner: { js: '#!/usr/bin/env node' },
});

mkdirSync(folder, { recursive: true });
for (const [name, contents] of scripts) write(`${name}.cjs`, contents);
write('rawbpf.cjs', launcher.outputFiles[0].contents);
chmodSync(path.join(folder, 'rawbpf.cjs'), 0o755);

/** Whole or not at all: somebody may be running it. */
function write(name, contents) {
  const file = path.join(folder, name);
  writeFileSync(`${file}.${process.pid}`, contents);
  renameSync(`${file}.${process.pid}`, file);
}
