// Builds kube-apiserver from Debian's source package of Kubernetes 1.20, which holds the whole upstream tree; once, into the cache.
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { cacheFolder } from '../containers/packages.mjs';
import { privateApt } from '../vm/packages.mjs';

/** bookworm's is the last source package that is not cut down to kubectl. */
const RELEASE = 'bookworm';
const VERSION = '1.20.2';

/** Where the built program is, or will be. */
export const apiserver = path.join(cacheFolder, 'kubernetes', 'kube-apiserver');

/** Builds unless it is there: 6 to 15 minutes on two CPUs, 2.5 GB of disk while it lasts, 110 MB kept. */
export function buildApiserver(say = (text) => process.stderr.write(`kubernetes: ${text}\n`)) {
  if (fs.existsSync(apiserver)) return apiserver;
  const arch = execFileSync('dpkg', ['--print-architecture'], { encoding: 'utf8' }).trim();
  say(`building kube-apiserver ${VERSION} once, into ${apiserver}`);
  const apt = privateApt([RELEASE, `${RELEASE}-security`], {
    cache: cacheFolder,
    arch,
    status: '/var/lib/dpkg/status',
    sources: true,
    say,
  });
  const work = path.join(cacheFolder, 'kubernetes', `build-${process.pid}`);
  fs.mkdirSync(work, { recursive: true });
  try {
    const tools = path.join(work, 'tools');
    const needed = ['golang-go', 'make', 'rsync', 'jq', 'golang-github-modern-go-reflect2-dev'];
    for (const name of apt.missing(needed)) apt.unpack(name, tools);
    const download = path.join(work, 'download');
    fs.mkdirSync(download);
    const tree = path.join(work, 'src');
    execFileSync('dpkg-source', ['--no-check', '-x', apt.source('kubernetes', download), tree], { stdio: ['ignore', 'ignore', 2] });
    replaceReflect2(tree, tools);
    compile(tree, work, tools);
    const built = path.join(tree, '_output/local/bin/linux', arch, 'kube-apiserver');
    fs.copyFileSync(built, `${apiserver}.new`);
    fs.chmodSync(`${apiserver}.new`, 0o755);
    fs.renameSync(`${apiserver}.new`, apiserver);
  } finally {
    // Go makes its module cache read-only.
    spawnSync('chmod', ['-R', 'u+w', work]);
    fs.rmSync(work, { recursive: true, force: true });
  }
  return apiserver;
}

// The vendored reflect2 1.0.1 reads maps in a way that crashes with Go 1.18 and newer; Debian's 1.0.2 does not.
function replaceReflect2(tree, tools) {
  const vendored = path.join(tree, 'vendor/github.com/modern-go/reflect2');
  const folder = 'usr/share/gocode/src/github.com/modern-go/reflect2';
  const newer = [path.join(tools, folder), `/${folder}`].find((each) => fs.existsSync(each));
  for (const name of fs.readdirSync(vendored)) if (name.endsWith('.go')) fs.rmSync(path.join(vendored, name));
  for (const name of fs.readdirSync(newer)) {
    if (/\.(go|s)$/.test(name) && !name.endsWith('_test.go')) fs.copyFileSync(path.join(newer, name), path.join(vendored, name));
  }
}

function compile(tree, work, tools) {
  fs.mkdirSync(path.join(tree, '.go/src/k8s.io'), { recursive: true });
  fs.symlinkSync('../../..', path.join(tree, '.go/src/k8s.io/kubernetes'));
  const goroot = path.join(tools, 'usr/lib/go');
  const env = {
    ...process.env,
    PATH: `${path.join(tools, 'usr/bin')}:${process.env.PATH}`,
    LD_LIBRARY_PATH: ['x86_64-linux-gnu', 'aarch64-linux-gnu'].map((name) => path.join(tools, 'usr/lib', name)).join(':'),
    ...(fs.existsSync(goroot) ? { GOROOT: fs.realpathSync(goroot) } : {}),
    GOPATH: path.join(tree, '.go'),
    GOCACHE: path.join(work, 'gocache'),
    HOME: path.join(work, 'home'),
    GO111MODULE: 'off',
    CGO_ENABLED: '0',
    GOFLAGS: '',
    GOPROXY: 'off',
    KUBE_GIT_VERSION: `v${VERSION}`,
    KUBE_GIT_MAJOR: VERSION.split('.')[0],
    KUBE_GIT_MINOR: VERSION.split('.')[1],
    KUBE_GIT_TREE_STATE: 'clean',
    KUBE_GIT_COMMIT: 'faecb196815e248d3ecfb03c680a4507229c2a56',
  };
  fs.mkdirSync(env.HOME, { recursive: true });
  const log = fs.openSync(path.join(cacheFolder, 'kubernetes/build.log'), 'w');
  const { status, signal } = spawnSync('nice', ['-n', '19', 'make', 'WHAT=cmd/kube-apiserver'], {
    cwd: tree,
    env,
    stdio: ['ignore', log, log],
  });
  fs.closeSync(log);
  if (status !== 0)
    throw new Error(`building kube-apiserver failed (${signal ?? status}): see ${path.join(cacheFolder, 'kubernetes/build.log')}`);
}

if (process.argv[1] === import.meta.filename) process.stdout.write(`${buildApiserver()}\n`);
