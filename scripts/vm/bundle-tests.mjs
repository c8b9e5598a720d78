// Makes one file of each kernel test and all that it imports, beside it: X.kernel.test.js -> X.kernel.bundle.mjs. Finding, reading
// and linking two hundred modules is half of what most tests cost an emulated machine. For guests alone: tap is the guests'
// stand-in (see tap/), and what a test starts by itself is the modules as they are.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { build } from 'esbuild';
import { root } from '../setup.mjs';

const built = path.join(root, 'build');

/** A module finds files beside itself by its URL: where it would be, were it not in the bundle (which lies where `outside` is). */
const urls = (outside) => ({
  name: 'urls',
  setup({ onLoad }) {
    onLoad({ filter: /\.js$/ }, ({ path: file }) => {
      const text = readFileSync(file, 'utf8');
      if (!file.startsWith(built + path.sep) || !text.includes('import.meta.url')) return null;
      const place = JSON.stringify(path.relative(outside, file));
      return { contents: text.replaceAll('import.meta.url', `new URL(${place}, import.meta.url).href`) };
    });
  },
});

const standIn = {
  name: 'stand-in',
  setup({ onResolve }) {
    onResolve({ filter: /^tap$/ }, () => ({ path: path.join(root, 'scripts/vm/tap/index.mjs') }));
  },
};

/** Bundles the kernel tests of build/test and the command line for guests. */
export async function bundleTests() {
  const tests = readdirSync(path.join(built, 'test'), { recursive: true })
    .filter((file) => file.endsWith('.kernel.test.js'))
    .map((file) => path.join('test', file));
  const bundleOf = (file) => file.replace(/(\.test)?\.js$/, '.bundle.mjs');
  const newest = statSync(path.join(built, '.built')).mtimeMs;
  for (const file of [...tests, 'src/cli/rawbpf.js'].map((each) => path.join(built, each))) {
    if (existsSync(bundleOf(file)) && statSync(bundleOf(file)).mtimeMs > newest) continue;
    await build({
      entryPoints: [file],
      outfile: bundleOf(file),
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node20.19',
      charset: 'utf8',
      external: ['koffi'],
      // What is CommonJS in it asks for Node's own modules by require().
      banner: { js: "import { createRequire as bundleRequire } from 'node:module'; const require = bundleRequire(import.meta.url);" },
      plugins: [urls(path.dirname(file)), standIn],
      logLevel: 'error',
    });
  }
}
