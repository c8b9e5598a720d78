// Each field of each gadget is compared with something in the gadget's own test, or stands in the list below. This reads the
// tests as text: a field counts where an assertion names it, or one of the helpers that compare whole structs is used.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { openGadget } from '../../src/gadget/gadget.ts';
import { parseMetadata } from '../../src/gadget/metadata.ts';
import { fixedContext } from '../gadget/fixture.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const gadgets = path.join(root, 'gadgets');
const tests = path.join(root, 'test', 'gadgets');

/** Tests of several gadgets at once. */
const shared: Readonly<Record<string, string>> = {
  top_file: 'top',
  top_tcp: 'top',
  top_blockio: 'blockio',
  profile_blockio: 'blockio',
  snapshot_process: 'snapshot',
  snapshot_file: 'snapshot',
  snapshot_socket: 'snapshot',
};

/** Not compared with an independent source. An entry that is compared now has to go. */
const uncompared: Readonly<Record<string, readonly string[]>> = {
  // The owner of a socket is compared by the tests of sockets and of trace_sni: process and name only here.
  advise_networkpolicy: [
    ...['comm', 'tid', 'mntns_id', 'creds.uid', 'creds.gid', 'creds.user', 'creds.group', 'parent.comm', 'parent.tid'].map(
      (field) => `proc.${field}`,
    ),
    'endpoint.version',
    'first',
    'first_raw',
    'pad',
  ],
  // 0 outside of nested namespaces of processes, where the test runs.
  profile_cpu: ['user_stack_raw.pid_level1', 'user_stack_raw.pidns_level1'],
  // A hash of kernel addresses, which nothing else shows. Names and build ids are compared by symbolizer.kernel.test.ts.
  trace_malloc: ['ustack.base_addr_hash', 'ustack.buildid', 'ustack.symbols'],
};

/** What expectProcess() of test/support/process.ts compares. */
const ofProcess = /^(.*\.)?(comm|pid|tid|mntns_id|creds\.(uid|gid|user|group)|parent\.(comm|pid|tid))$/;
const ofTime = /^timestamp(_raw)?$/;

function textOf(name: string): string {
  const base = shared[name] ?? name;
  return readdirSync(tests)
    .filter((file) => file === `${base}.kernel.test.ts` || file === `${base}.test.ts` || file.startsWith(`${base}-`))
    .map((file) => readFileSync(path.join(tests, file), 'utf8'))
    .join('\n');
}

function fieldsOf(name: string): readonly string[] {
  const folder = path.join(gadgets, name);
  const object = ['program.bpf.o', 'program.bpf.x86.o'].map((file) => path.join(folder, file)).find((file) => existsSync(file)) ?? '';
  const yaml = path.join(folder, 'gadget.yaml');
  const gadget = openGadget({
    object: new Uint8Array(readFileSync(object)),
    name,
    metadata: parseMetadata(readFileSync(yaml, 'utf8'), yaml),
    context: fixedContext,
  });
  // Structs are their members; what JSON leaves out is made of what it shows.
  return gadget.sources.flatMap((source) =>
    source.fields.filter((field) => field.slot !== null && !field.skippedInJson).map((field) => field.name),
  );
}

function isCompared(field: string, text: string): boolean {
  const leaf = field.slice(field.lastIndexOf('.') + 1);
  const names = (name: string): boolean => new RegExp(`(?<![\\w$])${name}(?![\\w$])`).test(text);
  if (names(leaf)) return true;
  // A name made of a number is right only where the number is, and the other way round.
  if (leaf.endsWith('_raw') ? names(leaf.slice(0, -4)) : names(`${leaf}_raw`)) return true;
  if (text.includes('expectProcess(') && ofProcess.test(field)) return true;
  if (text.includes('namesOf(') && /^(user|group)$/.test(leaf)) return true;
  if (text.includes('...superBlockDevice(') && /^(major|minor)$/.test(leaf)) return true;
  if (text.includes('inNetwork(') && leaf === 'netns_id') return true;
  // The whole end of a connection at once.
  if (text.includes('...packet.src') && /^(src|dst)\.(addr|port)$/.test(field)) return true;
  return text.includes('expectTime(') && ofTime.test(leaf);
}

for (const name of readdirSync(gadgets).toSorted()) {
  if (!existsSync(path.join(gadgets, name, 'gadget.yaml'))) continue;
  void t.test(name, (t) => {
    const text = textOf(name);
    const fields = fieldsOf(name);
    t.ok(text !== '' && fields.length > 0, 'it has a test, and fields');
    const left = fields.filter((field) => !isCompared(field, text));
    t.same(left.toSorted(), (uncompared[name] ?? []).toSorted(), `fields that nothing compares, of ${fields.length}`);
    t.end();
  });
}
