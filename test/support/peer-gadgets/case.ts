import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, realpathSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Test } from 'tap';
import type { Ended } from '../calls.ts';
import { networkPerl } from '../network.ts';
import { expectProcess, expectTime, namespaceOf } from '../process.ts';
import type { GadgetOutput, JsonEvent } from '../run-gadget.ts';

/** What scripts/inspektor-gadget.mjs has made. */
export const folder: string = process.env['RAWBPF_PEER_GADGETS'] ?? '';
/** Where workloads may write. */
export const scratch: string = folder === '' ? '' : realpathSync(mkdtempSync(path.join(os.tmpdir(), 'rawbpf-peer-')));

/** What a workload did and said. */
export interface Made extends Ended {
  /** Lines of what it printed, by their first word. */
  readonly said: ReadonlyMap<string, readonly string[]>;
}

/** A gadget, what makes its events happen, and what they are to say. */
export interface Case {
  readonly gadget: string;
  readonly args?: readonly string[];
  /** For the gadget. */
  readonly env?: Readonly<Record<string, string>>;
  /** What has to be there before; the folder of another gadget to run in its place, if it gives one. */
  readonly prepare?: (t: Test) => string | void;
  /** Gets the process that runs the gadget, or 0 where it runs afterwards. */
  readonly work: (t: Test, gadget: number) => Promise<Ended>;
  readonly check: (t: Test, rows: readonly JsonEvent[], made: Made, output: GadgetOutput) => void;
}

/** The only row that `fits`, or a failure. */
export function one(t: Test, rows: readonly JsonEvent[], what: string, fits: (row: JsonEvent) => boolean): JsonEvent | undefined {
  const found = rows.filter(fits);
  t.equal(found.length, 1, `${what}: one row`);
  return found[0];
}

/** Whether a row is of the Perl program that was run. */
export const of =
  (made: Ended): ((row: JsonEvent) => boolean) =>
  (row: JsonEvent) =>
    row.proc.pid === made.pid && row.proc.comm === 'perl';
export const wait = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

export function who(t: Test, row: JsonEvent | undefined, made: Made, what: string): void {
  expectProcess(t, row?.proc, { pid: made.pid, comm: 'perl', mntns: Number(made.said.get('mntns')?.[0] ?? namespaceOf('mnt')) }, what);
  expectTime(t, row, made, what);
}

export const endpoint = (addr: string, port: unknown, proto: 'TCP' | 'UDP'): object => ({
  addr,
  port: Number(port),
  proto,
  proto_raw: proto === 'TCP' ? 6 : 17,
  version: addr.includes(':') ? 6 : 4,
});

/** Perl: a connection over the loopback device of a namespace of its own. */
export const loopbackPair: string = String.raw`
  ${networkPerl}
  own_network();
  await_watch($ARGV[0]) if @ARGV;
  my $server = listener(AF_INET, "127.0.0.1");
  my $client = fresh; connect($client, at(AF_INET, "127.0.0.1", port_of $server)) or die; accept(my $accepted, $server) or die;
  print "server ", port_of($server), "\nclient ", port_of($client), "\nfd ", fileno($client), " ", fileno($accepted), " ", fileno($server), "\n";
`;

export async function run(file: string, args: readonly string[]): Promise<Ended> {
  const from = Date.now();
  const child = spawn(file, args, { cwd: '/tmp', stdio: ['ignore', 'pipe', 'ignore'] });
  const parts: Buffer[] = [];
  child.stdout.on('data', (part: Buffer) => parts.push(part));
  await once(child, 'close');
  const stdout = Buffer.concat(parts);
  return { pid: child.pid ?? 0, stdout, text: stdout.toString(), from, to: Date.now() };
}
