// An image made here, of busybox alone: no registry is asked. One tar serves ctr, docker and podman (docker's archive format).
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { which } from './packages.mjs';

const APPLETS = [
  'sh',
  'true',
  'false',
  'sleep',
  'cat',
  'ls',
  'echo',
  'id',
  'unshare',
  'readlink',
  'stat',
  'nc',
  'wget',
  'nslookup',
  'ip',
  'kill',
  'env',
  'mount',
];

/** A root directory of busybox and its applets. */
export function makeRoot(root, { env }) {
  const busybox = which('busybox', env.PATH);
  for (const folder of ['bin', 'etc', 'tmp', 'proc', 'sys', 'dev']) fs.mkdirSync(path.join(root, folder), { recursive: true });
  fs.copyFileSync(busybox, path.join(root, 'bin/busybox'));
  for (const applet of APPLETS) fs.symlinkSync('busybox', path.join(root, 'bin', applet));
  fs.writeFileSync(path.join(root, 'etc/passwd'), 'root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n');
  fs.writeFileSync(path.join(root, 'etc/group'), 'root:x:0:\nnogroup:x:65534:\n');
}

/** Writes `file`; the image is called docker.io/library/NAME:1 by containerd, NAME:1 by docker, localhost/NAME:1 or docker.io's by podman. */
export function makeImage(file, name, { env }) {
  const work = fs.mkdtempSync(`${file}.new-`);
  try {
    const root = path.join(work, 'root');
    makeRoot(root, { env });
    const layer = path.join(work, 'layer.tar');
    const same = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner'];
    execFileSync('tar', ['-C', root, ...same, '-cf', layer, '.']);
    const created = '2024-01-01T00:00:00Z';
    const config = JSON.stringify({
      architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
      os: 'linux',
      created,
      // Two images with the same contents would be one to CRI-O, by either name. The first process of a pid namespace ignores SIGTERM.
      config: { Cmd: ['/bin/sleep', '1000'], Env: ['PATH=/bin'], Labels: { name }, StopSignal: 'SIGKILL' },
      rootfs: { type: 'layers', diff_ids: [`sha256:${sha256(fs.readFileSync(layer))}`] },
      history: [{ created, created_by: 'busybox' }],
    });
    const manifest = [{ Config: `${sha256(config)}.json`, RepoTags: [`docker.io/library/${name}:1`], Layers: ['layer.tar'] }];
    fs.writeFileSync(path.join(work, `${sha256(config)}.json`), config);
    fs.writeFileSync(path.join(work, 'manifest.json'), JSON.stringify(manifest));
    execFileSync('tar', ['-C', work, '--exclude=./root', ...same, '-cf', file, '.']);
  } finally {
    fs.rmSync(work, { recursive: true, force: true });
  }
}

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
