// Objects as BPF programs that load them (light skeletons), and signatures over those.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { encodeLoader, Kernel, loadCollection, makeLoader, parseLoader, runLoader, signLoader } from '../../src/bpf/index.ts';
import { openObject, type ObjectSpec } from '../../src/bpf/object/index.ts';
import { RawbpfError } from '../../src/error.ts';
import { versionCode } from '../../src/sys/kernel-version.ts';
import { fixture } from '../fixture.ts';

const kernel = new Kernel();
const skip = kernel.version < versionCode(5, 14) ? 'loader programs came with Linux 5.14' : false;
const key = new TextDecoder().decode(fixture('loader/key.pem'));
const certificate = fixture('loader/cert.der');

/** Without what such a program cannot do. */
function open(file: string): ObjectSpec {
  const spec = openObject(fixture(file), { name: 'object' });
  return { ...spec, maps: spec.maps.filter(({ slots }) => slots.every(({ kind }) => kind !== 'program')) };
}

function descriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

t.test('maps and programs are those that loading the object gives', { skip }, async (t) => {
  for (const file of [
    // tour has weak functions and variables that are missing, stream one that may be there.
    'tour.bpf.o',
    'attach/stream.bpf.o',
    'attach/tracing.bpf.o',
    'gadget/events.bpf.o',
    'losses.bpf.o',
  ]) {
    const spec = open(file);
    for (const program of spec.programs) program.autoload &&= program.section !== null;
    let direct: ReturnType<typeof loadCollection>;
    try {
      direct = loadCollection(kernel, spec, { pinRoot: null });
    } catch {
      // What does not load on this kernel is compared nowhere.
      continue;
    }
    const loader = makeLoader(kernel, spec);
    // Linux 7.0 keeps bpf_stream_vprintk_impl in its BTF, with another type and without code: a loader program compares names alone.
    const leftover = (kernel.vmlinuxBtf()?.findByName('bpf_stream_vprintk_impl', 'FUNC') ?? null) !== null;
    if (file === 'attach/stream.bpf.o' && leftover && kernel.version >= versionCode(7, 0)) {
      t.throws(() => runLoader(kernel, loader), { code: 'E_LOADER_RUN', message: /bpf_stream_vprintk_impl/ });
      direct.close();
      continue;
    }
    const loaded = runLoader(kernel, loader);
    try {
      t.same([...loaded.programs.keys()].toSorted(), [...direct.programs.keys()].toSorted(), `${file}: programs`);
      for (const [name, program] of loaded.programs) {
        // The verifier has rewritten map numbers in both: lengths are those of equal programs.
        const [mine, theirs] = [program.info(), direct.program(name).info()];
        t.equal(mine.type, theirs.type, `${file} ${name}`);
        t.equal(mine.verifiedInsns, theirs.verifiedInsns, `${file} ${name}: instructions verified`);
        t.equal(program.translatedInsns().length, direct.program(name).translatedInsns().length, `${file} ${name}: translated`);
      }
      for (const [name, map] of loaded.maps) {
        const [mine, theirs] = [map.info(), direct.map(name).info()];
        for (const field of ['type', 'keySize', 'valueSize', 'maxEntries', 'flags', 'name'] as const)
          t.equal(mine[field], theirs[field], `${file} ${name}: ${field}`);
        const data = direct.spec.maps.find((one) => one.name === name)?.data ?? null;
        if (data === null) continue;
        t.same(map.lookup(new Uint8Array(4)), direct.map(name).lookup(new Uint8Array(4)), `${file} ${name}: contents`);
      }
    } finally {
      loaded.close();
      direct.close();
    }
  }
});

t.test('a refused program is told with the verifier’s log, and nothing stays', { skip }, async (t) => {
  const spec = openObject(fixture('runtime.bpf.o'), { name: 'runtime' });
  for (const program of spec.programs) program.autoload = program.name === 'refused';
  const maps = spec.maps.filter(({ slots, type }) => slots.length === 0 && type !== 33);
  const loader = makeLoader(kernel, { ...spec, maps });
  // The first run opens what stays open: the session's caches.
  t.throws(() => runLoader(kernel, loader), { code: 'E_LOADER_RUN', message: /processed \d+ insns/ });
  const before = descriptors();
  for (let i = 0; i < 3; i++) t.throws(() => runLoader(kernel, loader), { code: 'E_LOADER_RUN' });
  t.equal(descriptors(), before);
});

t.test('what cannot be done is said', { skip }, async (t) => {
  const attempt = (file: string): void => void makeLoader(kernel, openObject(fixture(file)));
  t.throws(() => attempt('object/arena.bpf.o'), { code: /E_LOADER_(MAP|PROGRAM)/ });
  t.throws(() => attempt('attach/struct_ops.bpf.o'), { code: /E_LOADER_(MAP|PROGRAM)/ });
  t.throws(() => attempt('tour.bpfeb.o'), { code: 'E_LOADER_MAP', message: /byte order/ });
  t.throws(() => signLoader(makeLoader(kernel, open('losses.bpf.o')), key, certificate), { code: 'E_SIGN_LOADER' });
});

/** The slots of an instruction changed, in a copy. */
function changed(bytes: Uint8Array, at: number): Uint8Array {
  const copy = bytes.slice();
  copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
}

t.test(
  'a signed loader runs on the data that it was signed with, and no other',
  { skip: skip || (kernel.version < versionCode(6, 18) ? 'loaders look at the hash of their data from Linux 6.18 on' : false) },
  async (t) => {
    const { loader, signature, dataSignature } = signLoader(makeLoader(kernel, open('losses.bpf.o'), { signed: true }), key, certificate);
    runLoader(kernel, loader).close();
    t.throws(() => runLoader(kernel, { ...loader, data: changed(loader.data, loader.data.length - 1) }), {
      code: 'E_LOADER_RUN',
      where: { errno: 'EINVAL' },
    });
    checkWithOpenssl(t, loader.insns, signature);
    checkWithOpenssl(t, Buffer.concat([loader.insns, loader.data]), dataSignature);
  },
);

function checkWithOpenssl(t: Test, content: Uint8Array, signature: Uint8Array): void {
  const folder = mkdtempSync(path.join(tmpdir(), 'rawbpf-'));
  try {
    const at = (name: string): string => path.join(folder, name);
    writeFileSync(at('signature'), signature);
    writeFileSync(at('cert'), certificate);
    const verify = (insns: Uint8Array): number | null => {
      writeFileSync(at('insns'), insns);
      const files = ['-in', at('signature'), '-content', at('insns'), '-certfile', at('cert.pem'), '-CAfile', at('cert.pem')];
      return spawnSync('openssl', ['cms', '-verify', '-inform', 'DER', '-binary', '-purpose', 'any', '-out', at('out'), ...files]).status;
    };
    if (spawnSync('openssl', ['x509', '-inform', 'DER', '-in', at('cert'), '-out', at('cert.pem')]).status !== 0) {
      t.comment('openssl is not there');
      return;
    }
    t.equal(verify(content), 0, 'openssl takes the signature');
    t.equal(verify(changed(content, 4)) === 0, false, 'and not for others');
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const verifies = kernel.config().get('CONFIG_SYSTEM_DATA_VERIFICATION') === 'y' && kernel.version >= versionCode(6, 18);

t.test('the kernel checks the signature', { skip: skip || (verifies ? false : 'this kernel cannot check signatures') }, async (t) => {
  const { sys } = kernel;
  const text = (value: string): Uint8Array => new TextEncoder().encode(`${value}\0`);
  const signed = signLoader(makeLoader(kernel, open('losses.bpf.o'), { signed: true }), key, certificate);
  const { loader } = signed;
  // KEYCTL_JOIN_SESSION_KEYRING: a keyring of this process alone.
  t.ok(sys.call('keyctl', 1, 0) > 0);
  t.throws(() => runLoader(kernel, loader, signed), { message: /no certificate/ });
  t.ok(sys.call('add_key', text('asymmetric'), text('rawbpf test'), certificate, certificate.length, -3) > 0);
  runLoader(kernel, loader, signed).close();
  t.throws(() => runLoader(kernel, { ...loader, insns: changed(loader.insns, loader.insns.length - 12) }, signed), {
    message: /not by that certificate/,
  });
  const other = { ...loader, data: changed(loader.data, loader.data.length - 1) };
  // Linux 6.18 lets the loader itself compare the hash; 7.3 checks the data with the signature.
  t.throws(() => runLoader(kernel, other, signed), RawbpfError);
  t.throws(() => runLoader(kernel, loader, { signature: new Uint8Array(64) }), { message: /refused the signed/ });
  const { signature, dataSignature } = signed;
  const taken = [{ signature }, { dataSignature }].map((one) => {
    try {
      runLoader(kernel, loader, one).close();
      return true;
    } catch (error) {
      t.match(error, { message: /not by that certificate|sign the object again/ });
      return false;
    }
  });
  t.equal(taken.filter(Boolean).length, 1, 'a kernel takes one of the two');
});

t.test('its file', { skip }, async (t) => {
  const made = signLoader(makeLoader(kernel, open('losses.bpf.o'), { signed: true }), key, certificate);
  const text = encodeLoader(made);
  t.same(parseLoader(text), made);
  const { dataSignature: _, ...older } = JSON.parse(text) as Record<string, unknown>;
  t.same(parseLoader(JSON.stringify(older)), { ...made, dataSignature: null }, 'a file without that signature');
  const parsed = JSON.parse(text) as Record<string, unknown>;
  for (const [what, value] of [
    ['no JSON', '{'],
    ['a list', '[]'],
    ['another format', JSON.stringify({ ...parsed, format: 'x' })],
    ['half an instruction', JSON.stringify({ ...parsed, insns: 'AAAA' })],
    ['a context too large', JSON.stringify({ ...parsed, contextSize: 1e9 })],
    ['a slot outside', JSON.stringify({ ...parsed, maps: [{ ...(parsed['maps'] as object[])[0], fdSlot: 1e6 }] })],
    ['a name that is none', JSON.stringify({ ...parsed, programs: [{ name: 3 }] })],
  ] as const)
    t.throws(() => parseLoader(value), { code: 'E_LOADER_FILE' }, what);
});
