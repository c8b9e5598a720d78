// Debian's kernel packages, fetched once through apt and unpacked beside each other in a cache folder.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

/** Name: [suites to look in, the last one's newest kernel wins]. */
export const KERNELS = {
  '5.10': ['bullseye', 'bullseye-security'],
  6.1: ['bookworm', 'bookworm-security'],
  6.12: ['trixie', 'trixie-security'],
  7.3: ['trixie', 'trixie-backports'],
  sid: ['sid'],
};

const run = (cmd, args, more = {}) =>
  execFileSync(cmd, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 1 << 28, ...more });

// An apt of our own: its lists, cache and sources lie in our folder, so the system's sources stay as they are, while
// mirrors, proxies and keys are the system's, and apt checks signatures and hashes as always.
// options: cache (folder), arch, say; status: which packages count as installed ("/dev/null": none); sources: source packages too.
export function privateApt(suites, options) {
  const dir = path.join(options.cache, 'apt', `${suites.join('+')}-${options.arch}`);
  for (const d of ['state/lists/partial', 'cache/archives/partial', 'empty']) fs.mkdirSync(path.join(dir, d), { recursive: true });
  const uris = run('apt-get', ['indextargets', '--format', '$(REPO_URI)']).split('\n');
  const mirror = uris.find((u) => /\/debian\/?$/.test(u)),
    security = uris.find((u) => /\/debian-security\/?$/.test(u)) ?? mirror;
  if (!mirror) throw new Error("no Debian mirror in the system's apt sources");
  fs.writeFileSync(
    path.join(dir, 'sources.list'),
    suites
      .flatMap((s) => (options.sources ? ['deb', 'deb-src'] : ['deb']).map((kind) => [kind, s]))
      .map(([kind, s]) => `${kind} [arch=${options.arch}] ${s.endsWith('-security') ? security : mirror} ${s} main\n`)
      .join(''),
  );
  fs.writeFileSync(
    path.join(dir, 'apt.conf'),
    `
Dir::State "${dir}/state"; Dir::State::status "${options.status ?? '/dev/null'}"; Dir::Cache "${dir}/cache";
Dir::Etc::sourcelist "${dir}/sources.list"; Dir::Etc::sourceparts "${dir}/empty";
Dir::Etc::preferences "${dir}/empty/none"; Dir::Etc::preferencesparts "${dir}/empty";
APT::Architecture "${options.arch}"; APT::Architectures { "${options.arch}"; };
Acquire::Languages "none"; Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false"; APT::Sandbox::User "root";
`,
  );
  const env = { ...process.env, APT_CONFIG: path.join(dir, 'apt.conf') };
  try {
    run('apt-get', ['update'], { env });
  } catch (e) {
    options.say(`apt-get update: ${e.stderr}`);
  } // one suite of two may be gone
  const show = (pkg) => {
    const text = run('apt-cache', ['show', pkg], { env }).split('\n\n')[0]; // the newest version comes first
    return Object.fromEntries([...text.matchAll(/^([\w-]+): (.*)$/gm)].map((m) => [m[1], m[2]]));
  };
  const unpack = (pkg, to) => {
    const d = fs.mkdtempSync(path.join(dir, 'cache/deb-'));
    run('apt-get', ['download', pkg], { env, cwd: d });
    run('dpkg-deb', ['-x', path.join(d, fs.readdirSync(d)[0]), to]);
    fs.rmSync(d, { recursive: true });
  };
  // What would have to be installed for these packages to work.
  const missing = (pkgs) =>
    [...run('apt-get', ['install', '-s', '-q', '--no-install-recommends', ...pkgs], { env }).matchAll(/^Inst (\S+)/gm)].map((m) => m[1]);
  const source = (name, to) => {
    run('apt-get', ['source', '-q', '--download-only', name], { env, cwd: to });
    return path.join(
      to,
      fs.readdirSync(to).find((f) => f.endsWith('.dsc')),
    );
  };
  return { show, unpack, missing, source };
}

// Returns the folder of an unpacked kernel: vmlinuz, config, busybox, lib/modules/VERSION (with modules.dep).
export function fetchKernel(options) {
  const dir = path.join(options.cache, 'kernels', `${options.kernel.replaceAll('/', '_')}-${options.arch}`);
  if (fs.existsSync(path.join(dir, 'kernel'))) return dir;
  process.stderr.write(`vm-run: fetching kernel ${options.kernel} (${options.arch}) once, into ${dir}\n`);
  const [suite, pkg] = options.kernel.split(':');
  const apt = privateApt(KERNELS[suite] ?? [...new Set([suite.replace(/-.*/, ''), suite])], options);
  // linux-image-amd64 depends on linux-image-VERSION-amd64; from 7.x on that one is empty and depends on
  // linux-binary-VERSION and linux-modules-VERSION.
  const needs = (p) =>
    apt
      .show(p)
      .Depends.split(/[,|]/)
      .map((d) => d.trim().split(' ')[0]);
  const image = pkg ?? needs(`linux-image-${options.arch}`).find((d) => /^linux-image-\d/.test(d));
  const packages = [image, ...needs(image).filter((d) => /^linux-(binary|modules|base)-\d/.test(d))];
  const tmp = `${dir}.new-${process.pid}`;
  fs.mkdirSync(path.join(tmp, 'x'), { recursive: true });
  process.on('exit', () => fs.rmSync(tmp, { recursive: true, force: true }));
  for (const p of [...packages, 'busybox-static']) apt.unpack(p, path.join(tmp, 'x'));
  const find = (d, re) =>
    path.join(
      d,
      fs.readdirSync(d).find((f) => re.test(f)),
    );
  const usr = (d) => [path.join(tmp, 'x', d), path.join(tmp, 'x/usr', d)].find((p) => fs.existsSync(p));
  const modules = usr('lib/modules'),
    version = fs.readdirSync(modules)[0];
  fs.mkdirSync(path.join(tmp, 'lib'));
  fs.renameSync(modules, path.join(tmp, 'lib/modules'));
  const boot = [path.join(tmp, 'x/boot'), path.join(tmp, 'lib/modules', version)].filter((d) => fs.existsSync(d));
  const pick = (re, to) =>
    fs.copyFileSync(boot.filter((d) => fs.readdirSync(d).some((f) => re.test(f))).map((d) => find(d, re))[0], path.join(tmp, to));
  pick(/^config/, `lib/modules/${version}/config`);
  fs.copyFileSync(path.join(usr('bin'), 'busybox'), path.join(tmp, 'busybox'));
  run('depmod', ['-b', tmp, version]);
  fs.writeFileSync(path.join(tmp, 'packages'), packages.map((p) => `${p} ${apt.show(p).Version}\n`).join(''));
  pick(/^vmlinuz/, 'vmlinuz');
  fs.writeFileSync(path.join(tmp, 'kernel'), unpackedKernel(fs.readFileSync(path.join(tmp, 'vmlinuz')))); // last: marks a complete folder
  fs.rmSync(path.join(tmp, 'x'), { recursive: true });
  fs.rmSync(dir, { recursive: true, force: true });
  fs.renameSync(tmp, dir);
  return dir;
}

// An x86 bzImage unpacks itself, which costs 5 s under software emulation; the ELF kernel inside it can be booted
// directly (PVH), so unpack that here. Anything else is booted as it is.
function unpackedKernel(image) {
  if (image.toString('latin1', 0x202, 0x206) !== 'HdrS') return image;
  const start = ((image[0x1f1] || 4) + 1) * 512 + image.readUInt32LE(0x248),
    size = image.readUInt32LE(0x24c);
  const payload = image.subarray(start, start + size - 4); // the last 4 bytes are the unpacked size
  const tool = { fd377a58: ['xz', '-dc', '--single-stream'], '28b52ffd': ['zstd', '-dc'], '1f8b0800': ['gzip', '-dc'] }[
    payload.toString('hex', 0, 4)
  ];
  if (!tool) return image;
  try {
    return execFileSync(tool[0], tool.slice(1), { input: payload, maxBuffer: 1 << 29, stdio: ['pipe', 'pipe', 'ignore'] });
  } catch {
    return image;
  }
}
