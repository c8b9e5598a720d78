// top_file and top_tcp against what the programs themselves say.
import { mkdtempSync, realpathSync, rmSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { runProgram } from '../support/calls.ts';
import { expectProcess, namespaceOf, runPerl } from '../support/process.ts';
import { traced, type JsonEvent } from '../support/run-gadget.ts';

// Slow machines take their time.
t.setTimeout(110_000);

interface FileRow extends JsonEvent {
  readonly file: string;
  readonly reads: number;
  readonly rbytes_raw: number;
  readonly rbytes: string;
  readonly writes: number;
  readonly wbytes_raw: number;
  readonly wbytes: string;
  readonly t: string;
  readonly t_raw: number;
  readonly inode: number;
  readonly dev: number;
}

/** Reads and writes by every call there is; says how much each moved. Numbers of calls are those of x86-64. */
const script = `
  my ($in, $out) = @ARGV;
  open(my $i, '+<', $in) or die; open(my $o, '+<', $out) or die; pipe(my $r, my $w) or die;
  my ($fi, $fo) = (fileno($i), fileno($o)); my $buf = "x" x 65536; my $offset = pack('q', 0);
  my ($reads, $rbytes, $writes, $wbytes) = (0, 0, 0, 0);
  my $vec = pack('Pqx0', $buf, 3000);
  sub r { my $n = shift; die "read: $!" if $n < 0; $reads++; $rbytes += $n } sub w { my $n = shift; die "write: $!" if $n < 0; $writes++; $wbytes += $n }
  r(syscall(0, $fi, $buf, 1000)); r(syscall(17, $fi, $buf, 2000, 0)); r(syscall(19, $fi, $vec, 1)); r(syscall(295, $fi, $vec, 1, 0, 0)); r(syscall(327, $fi, $vec, 1, 0, 0, 0));
  w(syscall(1, $fo, $buf, 100)); w(syscall(18, $fo, $buf, 200, 0)); w(syscall(20, $fo, $vec, 1)); w(syscall(296, $fo, $vec, 1, 0, 0)); w(syscall(328, $fo, $vec, 1, 0, 0, 0));
  my $n = syscall(40, $fo, $fi, 0, 4000); r($n); w($n);
  $n = syscall(326, $fi, 0, $fo, 0, 500, 0); r($n); w($n);
  $n = syscall(275, $fi, 0, fileno($w), 0, 600, 0); r($n);
  $n = syscall(275, fileno($r), 0, $fo, 0, 600, 0); w($n);
  sysseek($i, 0, 2); r(syscall(0, $fi, $buf, 10));
  syscall(0, 999, $buf, 10);
  print "$reads $rbytes $writes $wbytes";
`;

void t.test('top_file', { skip: process.arch === 'x64' ? false : 'the numbers of calls are those of x86-64' }, async (t) => {
  const folder = realpathSync(mkdtempSync(path.join(os.tmpdir(), 'rawbpf-top-')));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const [input, output] = [path.join(folder, 'input'), path.join(folder, 'output')];
  writeFileSync(input, 'y'.repeat(100_000));
  writeFileSync(output, '');
  for (const all of [false, true]) {
    const { events, made, lost, stderr } = await traced('top_file', ['--comm', 'perl', ...(all ? ['--all-files'] : [])], () =>
      runPerl(script, input, output),
    );
    t.equal(lost, 0, stderr);
    const [reads = 0, rbytes = 0, writes = 0, wbytes = 0] = made.text.split(' ').map(Number);
    t.ok(reads === 9 && writes === 8, made.text);
    const rows = (events.flat() as unknown as readonly FileRow[]).filter(({ proc }) => proc.pid === made.pid);
    for (const row of rows) expectProcess(t, row.proc, { pid: made.pid, comm: 'perl' }, row.file);
    for (const [file, expected] of [
      [input, { reads, rbytes_raw: rbytes, writes: 0, wbytes_raw: 0 }],
      [output, { reads: 0, rbytes_raw: 0, writes, wbytes_raw: wbytes }],
    ] as const) {
      const own = rows.filter((row) => row.file === file);
      const sum = (name: 'reads' | 'rbytes_raw' | 'writes' | 'wbytes_raw'): number => own.reduce((total, row) => total + row[name], 0);
      t.same({ reads: sum('reads'), rbytes_raw: sum('rbytes_raw'), writes: sum('writes'), wbytes_raw: sum('wbytes_raw') }, expected, file);
      const { ino, dev } = statSync(file);
      const kernelDev = (((dev >> 8) & 0xfff) << 20) | (dev & 0xff);
      for (const row of own) t.match(row, { inode: ino, dev: kernelDev, t: 'R', t_raw: 0 }, file);
    }
    t.equal(
      rows.some((row) => row.t === 'O'),
      all,
      'pipes only where they are asked for',
    );
  }
});

interface TcpRow {
  readonly [name: string]: unknown;
  readonly src: { readonly addr: string; readonly port: number; readonly proto: string; readonly version: number };
  readonly dst: { readonly addr: string; readonly port: number; readonly proto: string; readonly version: number };
  readonly sent_raw: number;
  readonly received_raw: number;
}

const connections = `
  const net = require('node:net');
  const talk = (host) => new Promise((resolve) => {
    const server = net.createServer((peer) => { peer.resume(); peer.end(Buffer.alloc(123456)); peer.on('close', () => { result.server = [peer.bytesWritten, peer.bytesRead]; server.close(() => resolve(result)); }); });
    const result = { host };
    server.listen(0, host, () => {
      const client = net.connect(server.address().port, host, () => {
        result.ports = [client.localPort, server.address().port];
        client.resume(); client.write(Buffer.alloc(54321)); client.on('end', () => client.end());
        client.on('close', () => { result.client = [client.bytesWritten, client.bytesRead]; });
      });
    });
  });
  (async () => console.log(JSON.stringify([await talk('127.0.0.1'), await talk('::1')])))();
`;

void t.test('top_tcp', async (t) => {
  for (const family of [-1, 4, 6]) {
    const { events, made, lost, stderr } = await traced('top_tcp', [`--family=${family}`], () =>
      runProgram(process.execPath, ['-e', connections]),
    );
    t.equal(lost, 0, stderr);
    const rows = (events.flat() as unknown as readonly TcpRow[]).filter((row) => row['pid'] === made.pid);
    for (const { host, ports, client, server } of JSON.parse(made.text) as readonly {
      readonly host: string;
      readonly ports: readonly number[];
      readonly client: readonly number[];
      readonly server: readonly number[];
    }[]) {
      const version = host === '::1' ? 6 : 4;
      for (const [from, to, [sent, received]] of [
        [ports[0], ports[1], client],
        [ports[1], ports[0], server],
      ] as const) {
        const own = rows.filter(({ src, dst }) => src.port === from && dst.port === to);
        const wanted = family === -1 || family === version;
        t.equal(
          own.reduce((sum, row) => sum + row.sent_raw, 0),
          wanted ? sent : 0,
          `${host} ${from}: sent, family ${family}`,
        );
        t.equal(
          own.reduce((sum, row) => sum + row.received_raw, 0),
          wanted ? received : 0,
          `${host} ${from}: received`,
        );
        for (const row of own) {
          const end = { addr: host, proto: 'TCP', version };
          t.match(row, { pid: made.pid, tid: made.pid, comm: 'node', mntns_id: namespaceOf('mnt'), src: end, dst: end });
        }
      }
    }
  }
});
