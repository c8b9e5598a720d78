import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { root } from '../support/examples.ts';

// What a user gets from the registry: packed, unpacked elsewhere, with its own dependencies, and no compiler in sight.
t.test('the packed package runs elsewhere, with a bare PATH', async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-pack-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  // `npm run build` has done it already, `tsc` alone has not.
  const bundled = spawnSync(process.execPath, [path.join(root, 'scripts', 'bundle.mjs')], { encoding: 'utf8' });
  t.equal(bundled.status, 0, bundled.stderr);
  const packed = spawnSync('npm', ['pack', '--pack-destination', folder, '--ignore-scripts', '--loglevel=error'], {
    cwd: root,
    encoding: 'utf8',
  });
  t.equal(packed.status, 0, packed.stderr);
  const [tarball = ''] = readdirSync(folder).filter((name) => name.endsWith('.tgz'));
  writeFileSync(path.join(folder, 'package.json'), '{"private":true}');
  const modules = path.join(folder, 'node_modules');
  mkdirSync(path.join(modules, 'rawbpf'), { recursive: true });
  t.equal(spawnSync('tar', ['xzf', path.join(folder, tarball), '-C', path.join(modules, 'rawbpf'), '--strip-components=1']).status, 0);
  // The dependencies that the manifest names, and no others: whatever else the code imports is missing here.
  for (const name of ['koffi', 'yaml', '@koromix']) symlinkSync(path.join(root, 'node_modules', name), path.join(modules, name));
  const bin = path.join(folder, 'bin');
  mkdirSync(bin);
  symlinkSync(process.execPath, path.join(bin, 'node'));

  // As the package manager finds it.
  const manifest: { bin: { rawbpf: string } } = JSON.parse(readFileSync(path.join(modules, 'rawbpf', 'package.json'), 'utf8'));
  const program = path.join(modules, 'rawbpf', manifest.bin.rawbpf);
  const env = { PATH: bin, HOME: folder };
  const child = spawn(path.join(bin, 'node'), [program, 'run', 'trace_exec', '-v', '-o', 'json', '--comm', 'packed'], { cwd: folder, env });
  let events = '';
  let notices = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (events += text));
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  await new Promise<void>((resolve, reject) => {
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      notices += text;
      if (notices.includes('trace_exec: attached')) resolve();
    });
    child.on('close', () => reject(new Error(`it ended before it was attached: ${notices}`)));
  });
  symlinkSync('/bin/true', path.join(folder, 'packed'));
  t.equal(spawnSync(path.join(folder, 'packed'), ['one', 'two']).status, 0);
  while (!events.includes('\n')) await new Promise((resolve) => setTimeout(resolve, 20));
  child.kill('SIGINT');
  t.equal(await ended, 0);
  const [line = ''] = events.split('\n');
  const event: { args: string; proc: { comm: string } } = JSON.parse(line);
  t.equal(event.args, `${path.join(folder, 'packed')} one two`);
  t.equal(event.proc.comm, 'packed');
  t.match(notices, /trace_exec: 1 received, 0 lost, 0 discarded\n$/);

  const imported = spawnSync(
    path.join(bin, 'node'),
    [
      '--input-type=module',
      '-e',
      "for (const n of ['', '/elf', '/btf', '/insn', '/object']) console.log(Object.keys(await import('rawbpf' + n)).length > 3)",
    ],
    {
      cwd: folder,
      env,
      encoding: 'utf8',
    },
  );
  t.equal(imported.stdout, 'true\n'.repeat(5), imported.stderr);
});
