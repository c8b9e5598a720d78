import path from 'node:path';
import { Kernel } from '../../bpf/index.ts';
import { encodeLoader, parseLoader } from '../../bpf/loader-program/file.ts';
import { makeLoader } from '../../bpf/loader-program/make.ts';
import { runLoader } from '../../bpf/loader-program/run.ts';
import { signLoader } from '../../bpf/loader-program/sign.ts';
import { openObject } from '../../bpf/object/index.ts';
import { printable } from '../../bytes/printable.ts';
import { commonOptions, outputOption, type Command } from '../command.ts';
import { jsonText } from '../json-text.ts';
import { parseOptions, usage, type ParsedOptions } from '../options.ts';
import { parseFile, readFile } from '../read-input.ts';
import { table } from '../table.ts';
import { writeFile } from '../write-output.ts';

const formats = ['columns', 'json', 'jsonpretty'] as const;
const options = [
  outputOption(formats),
  { name: 'out', value: 'FILE', help: 'where make writes' },
  { name: 'key', value: 'FILE', help: 'make: sign it with this key (PEM, RSA or ECDSA)' },
  { name: 'cert', value: 'FILE', help: 'make: the certificate of that key (PEM or DER)' },
  { name: 'keyring', value: 'ID', help: 'run: the keyring with the certificate; 0 is the kernel’s own, the session’s unless said' },
  { name: 'pin', value: 'DIR', help: 'run: pin maps and programs in this folder of a BPF file system, so that they stay' },
];

/** `rawbpf loader`: objects as BPF programs that load them (light skeletons), signed or not. */
export const loaderCommand: Command = {
  name: 'loader',
  summary: 'turn an object into one BPF program that loads it, signed if wanted; run such a program',
  usage: 'loader make OBJECT --out FILE [--key FILE --cert FILE] | loader run FILE [--keyring ID] [--pin DIR]',
  description:
    'make writes a program that creates the object’s maps and loads its programs from within the kernel (a light skeleton): no ELF and\n' +
    'no BTF is read when it runs, relocations are done by the kernel (Linux 5.14). With a key one signature covers everything that\n' +
    'will be loaded; a kernel that has the certificate checks it (Linux 6.18).\n' +
    'run does it once, shows what came of it, and lets go, unless it is pinned.',
  options,
  examples: [
    'rawbpf loader make program.bpf.o --out program.loader',
    'rawbpf loader make program.bpf.o --out program.loader --key key.pem --cert cert.pem',
    'rawbpf loader run program.loader --pin /sys/fs/bpf/program',
  ],
  run({ args, stdout }) {
    const { options: given } = parseOptions(args, [...options, ...commonOptions]);
    const [verb, file, ...more] = given.operands;
    if (file === undefined || more.length > 0 || (verb !== 'make' && verb !== 'run'))
      throw usage('loader needs a verb and a file', 'rawbpf loader make OBJECT --out FILE, or rawbpf loader run FILE');
    const kernel = new Kernel();
    try {
      if (verb === 'make') make(kernel, file, given);
      else stdout.write(run(kernel, file, given));
    } finally {
      kernel.close();
    }
    return Promise.resolve(0);
  },
};

function make(kernel: Kernel, file: string, given: ParsedOptions): void {
  const [out, key, certificate] = [given.text('out'), given.text('key'), given.text('cert')];
  if (out === null) throw usage('loader make needs --out FILE');
  if ((key === null) !== (certificate === null)) throw usage('--key and --cert go together');
  const spec = parseFile(file, (bytes) => openObject(bytes, { name: path.basename(file).replace(/\.o$/, ''), pageSize: kernel.pageSize }));
  const loader = makeLoader(kernel, spec, { signed: key !== null });
  const made =
    key === null || certificate === null
      ? { loader, signature: null, dataSignature: null }
      : signLoader(loader, Buffer.from(readFile(key)), readFile(certificate));
  writeFile(out, encodeLoader(made));
}

function run(kernel: Kernel, file: string, given: ParsedOptions): string {
  const keyring = given.text('keyring');
  if (keyring !== null && !/^-?\d+$/.test(keyring)) throw usage(`--keyring wants a number, not ${printable(keyring)}`);
  const { loader, signature, dataSignature } = parseLoader(Buffer.from(readFile(file)).toString('utf8'));
  const loaded = runLoader(kernel, loader, {
    ...(signature === null ? {} : { signature }),
    ...(dataSignature === null ? {} : { dataSignature }),
    ...(keyring === null ? {} : { keyring: Number(keyring) }),
  });
  try {
    const folder = given.text('pin');
    const rows = [
      ...[...loaded.maps].map(([name, map]) => ({ kind: 'map', name, type: map.typeName, id: map.info().id, object: map })),
      ...[...loaded.programs].map(([name, program]) => ({
        kind: 'program',
        name,
        type: program.typeName,
        id: program.info().id,
        object: program,
      })),
    ];
    if (folder !== null) for (const { name, object } of rows) object.pin(path.join(folder, name.replaceAll(/[./]/g, '_')));
    const format = given.flag('json') ? 'json' : (given.choice('output', formats) ?? 'columns');
    const shown = rows.map(({ kind, name, type, id }) => ({ kind, name, type, id }));
    if (format !== 'columns') return `${jsonText(shown, format === 'json' ? 0 : 2)}\n`;
    return table(
      ['KIND', 'NAME', 'TYPE', 'ID'],
      shown.map(({ kind, name, type, id }) => [kind, name, type, id]),
    );
  } finally {
    loaded.close();
  }
}
