// snapshot_process, snapshot_file and snapshot_socket against /proc.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, realpathSync, rmSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { runProgram } from '../support/calls.ts';
import { commOf, namespaceOf, namesOf } from '../support/process.ts';

import { rawbpfPath, type JsonEvent } from '../support/run-gadget.ts';

// Slow machines take their time.
t.setTimeout(110_000);

/** Runs an iterator gadget once; gives its rows. */
async function rowsOf<T>(name: string, ...args: readonly string[]): Promise<readonly T[]> {
  const { text } = await runProgram(process.execPath, [rawbpfPath, 'run', name, '-o', 'json', ...args]);
  return text
    .split('\n')
    .filter(Boolean)
    .flatMap((line) => JSON.parse(line) as readonly T[]);
}

/** Starts a Perl program that says `ready` and then waits to be killed. */
async function waiting(
  t: Test,
  script: string,
  { command = [] as readonly string[], cwd = '/' } = {},
): Promise<ChildProcess & { readonly pid: number }> {
  const [file, ...args] = [
    ...command,
    '/usr/bin/perl',
    '-e',
    `use strict; use Socket; $| = 1; ${script}; print "ready\\n"; sleep 1 while 1;`,
  ];
  const child = spawn(file, args, { cwd, stdio: ['ignore', 'pipe', 'ignore'] });
  t.teardown(() => child.kill('SIGKILL'));
  for await (const data of child.stdout) if (String(data).includes('ready')) break;
  return child as ChildProcess & { readonly pid: number };
}

void t.test('snapshot_process', async (t) => {
  const child = await waiting(t, '$0 = "renamed"; $( = 1234; $) = "2345 2345"; $> = 54321', { command: ['unshare', '--mount'] });
  const rows = await rowsOf<JsonEvent['proc']>('snapshot_process');
  const pids = rows.map(({ pid }) => pid);
  t.equal(new Set(pids).size, pids.length, 'each process once');
  const there = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  t.ok(
    there.length < pids.length * 1.5 + 50 && pids.length < there.length * 1.5 + 50,
    `${pids.length} processes, /proc has ${there.length}`,
  );
  for (const [what, pid, uid, gid] of [
    ['this process', process.pid, 0, 0],
    ['a child of other rights', child.pid, 54321, 2345],
  ] as const) {
    const row = rows.find((candidate) => candidate.pid === pid);
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const field = (name: string, at = 0): number => Number(new RegExp(`^${name}:\\s+(.*)$`, 'm').exec(status)?.[1]?.split(/\s+/)[at]);
    // The second of four is the effective one.
    t.match(
      row,
      {
        comm: commOf(pid),
        pid,
        tid: pid,
        creds: { uid: field('Uid', 1), gid: field('Gid', 1), ...namesOf(field('Uid', 1), field('Gid', 1)) },
        mntns_id: statSync(`/proc/${pid}/ns/mnt`).ino,
        parent: { pid: field('PPid'), tid: field('PPid') },
      },
      what,
    );
    if (field('PPid') > 0) t.equal(row?.parent.comm, commOf(field('PPid')), `${what}: parent`);
    t.same([field('Uid', 1), field('Gid', 1)], [uid, gid], `${what}: rights`);
  }
  t.not(rows.find(({ pid }) => pid === child.pid)?.mntns_id, namespaceOf('mnt'), 'the child has a mount namespace of its own');

  const threads = await rowsOf<JsonEvent['proc']>('snapshot_process', '--threads', '--pid', String(process.pid));
  const own = readdirSync(`/proc/${process.pid}/task`).map(Number);
  t.same(
    threads.map(({ tid }) => tid).toSorted((a, b) => a - b),
    own.toSorted((a, b) => a - b),
    'threads',
  );
  for (const { tid, pid, comm } of threads)
    t.same([pid, comm], [process.pid, readFileSync(`/proc/${process.pid}/task/${tid}/comm`, 'utf8').trimEnd()]);
  t.same(
    (await rowsOf<JsonEvent['proc']>('snapshot_process', '--uid', '54321')).map(({ pid }) => pid),
    [child.pid],
    'filtered in the kernel',
  );
});

interface FileRow {
  readonly [name: string]: unknown;
  readonly comm: string;
  readonly pid: number;
  readonly tid: number;
  readonly fd: number;
  readonly type: string;
  readonly path: string;
  readonly inode: number;
  readonly flags: string;
  readonly flags_raw: number;
  readonly mntns_id: number;
}

void t.test('snapshot_file', async (t) => {
  const folder = realpathSync(mkdtempSync(path.join(os.tmpdir(), 'rawbpf-files-')));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const child = await waiting(
    t,
    `my @keep; sub keep { push @keep, $_[0] }
     open(my $a, '+>', 'regular') or die; open(my $b, '>>', 'gone') or die; unlink 'gone'; opendir(my $c, '.') or die; pipe(my $d, my $e) or die;
     socketpair(my $f, my $g, AF_UNIX, SOCK_STREAM, 0) or die; open(my $h, '<', '/dev/null') or die; require POSIX; POSIX::mkfifo('fifo', 0600); open(my $i, '+<', 'fifo') or die;
     symlink 'regular', 'link'; syscall(257, -100, my $l = 'link', 0x220000, 0) >= 0 or die; syscall(291, 0) >= 0 or die;
     print "$$\\n"; keep($_) for $a, $b, $c, $d, $e, $f, $g, $h, $i`,
    { cwd: folder },
  );
  const rows = await rowsOf<FileRow>('snapshot_file', '--paths', '--type-mask', '511', '--pid', String(child.pid));
  const fds = readdirSync(`/proc/${child.pid}/fd`).map(Number);
  t.same(
    rows.map(({ fd }) => fd).toSorted((a, b) => a - b),
    fds.toSorted((a, b) => a - b),
    'every descriptor',
  );
  const types = new Set<string>();
  for (const row of rows) {
    const link = readlinkSync(`/proc/${child.pid}/fd/${row.fd}`);
    const what = `${row.fd} ${link}`;
    t.equal(row.path, link, `${what}: path`);
    t.match(row, { comm: 'perl', pid: child.pid, tid: child.pid, mntns_id: namespaceOf('mnt') }, what);
    const info = readFileSync(`/proc/${child.pid}/fdinfo/${row.fd}`, 'utf8');
    const flags = Number.parseInt(/^flags:\s+(\d+)$/m.exec(info)?.[1] ?? '', 8);
    // fdinfo adds O_CLOEXEC, which the descriptor has, not the file.
    t.equal(row.flags_raw, flags & ~0o2000000, `${what}: flags`);
    t.equal(row.inode, Number(/^ino:\s+(\d+)$/m.exec(info)?.[1] ?? statSync(`/proc/${child.pid}/fd/${row.fd}`).ino), `${what}: inode`);
    types.add(row.type);
    const stat = row.type === 'SYMLINK' ? null : statSync(`/proc/${child.pid}/fd/${row.fd}`);
    if (stat !== null)
      t.equal(
        row.type,
        stat.isFile()
          ? 'REGULAR'
          : stat.isDirectory()
            ? 'DIRECTORY'
            : stat.isFIFO()
              ? 'PIPE'
              : stat.isSocket()
                ? 'SOCKET'
                : stat.isCharacterDevice()
                  ? 'CHAR_DEV'
                  : 'OTHER',
        `${what}: type`,
      );
  }
  t.same([...types].toSorted(), ['CHAR_DEV', 'DIRECTORY', 'OTHER', 'PIPE', 'REGULAR', 'SOCKET', 'SYMLINK'], 'of every type');
  t.match(
    rows.find((row) => row.path === `${folder}/regular`),
    { flags: 'O_RDWR|O_LARGEFILE' },
  );
  const names = await rowsOf<FileRow>('snapshot_file', '--pid', String(child.pid));
  t.same(
    names
      .filter(({ fd }) => fd > 2)
      .map((row) => `${row.type} ${row.path}`)
      .toSorted(),
    [`DIRECTORY ${path.basename(folder)}`, 'REGULAR gone', 'REGULAR regular'],
    'names of files and folders, unless asked for more',
  );
});

interface SocketRow {
  readonly src: Endpoint;
  readonly dst: Endpoint;
  readonly state: string;
  readonly state_raw: number;
  readonly ino: number;
  readonly netns_id: number;
}

interface Endpoint {
  readonly addr: string;
  readonly port: number;
  readonly proto: string;
  readonly proto_raw: number;
  readonly version: number;
}

/** An address as /proc/net/tcp has it: 32-bit words in the machine's byte order. */
function procAddress(hex: string): string {
  const bytes = Buffer.from(hex, 'hex');
  for (let at = 0; at < bytes.length; at += 4) bytes.subarray(at, at + 4).reverse();
  if (bytes.length === 4) return [...bytes].join('.');
  const words = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(i * 2).toString(16));
  return new URL(`http://[${words.join(':')}]/`).hostname.slice(1, -1);
}

/** Sockets as the tables of /proc/PID/net show them. */
function procSockets(pid: number): readonly string[] {
  return ['tcp', 'tcp6', 'udp', 'udp6'].flatMap((table) =>
    readFileSync(`/proc/${pid}/net/${table}`, 'utf8')
      .trim()
      .split('\n')
      .slice(1)
      .map((line) => {
        const [, local = '', remote = '', state = '', , , , , , inode = ''] = line.trim().split(/\s+/);
        const ends = [local, remote].map(
          (end) => `${procAddress(end.split(':')[0] ?? '')} ${Number.parseInt(end.split(':')[1] ?? '', 16)}`,
        );
        return `${table.slice(0, 3)} ${ends.join(' ')} ${Number.parseInt(state, 16)} ${inode}`;
      }),
  );
}

void t.test('snapshot_socket', async (t) => {
  const sockets = `
    socket(my $c, AF_INET, SOCK_DGRAM, 0) or die; ioctl($c, 0x8914, my $up = pack('a16 s x14', 'lo', 0x41)) or die;
    my @keep = $c;
    my $any = sockaddr_in(0, INADDR_LOOPBACK);
    socket(my $l, AF_INET, SOCK_STREAM, 0); bind($l, $any) or die; listen($l, 5) or die;
    socket(my $s, AF_INET, SOCK_STREAM, 0); connect($s, getsockname($l)) or die; accept(my $p, $l) or die;
    socket(my $w, AF_INET, SOCK_STREAM, 0); connect($w, getsockname($l)) or die; accept(my $v, $l) or die; close $w; sysread($v, my $end, 1); close $v;
    socket(my $h, AF_INET, SOCK_STREAM, 0); connect($h, getsockname($l)) or die; accept(my $k, $l) or die; shutdown($h, 1);
    bind($c, $any) or die; socket(my $d, AF_INET, SOCK_DGRAM, 0); connect($d, getsockname($c)) or die;
    my $any6 = Socket::pack_sockaddr_in6(0, Socket::inet_pton(AF_INET6, '::1'));
    socket(my $l6, AF_INET6, SOCK_STREAM, 0); bind($l6, $any6) or die; listen($l6, 5) or die;
    socket(my $s6, AF_INET6, SOCK_STREAM, 0); connect($s6, getsockname($l6)) or die;
    socket(my $u6, AF_INET6, SOCK_DGRAM, 0); bind($u6, $any6) or die;
    push @keep, $l, $s, $p, $h, $k, $d, $l6, $s6, $u6`;
  // In namespaces of their own there is nobody else.
  const children = [
    await waiting(t, sockets, { command: ['unshare', '--net'] }),
    await waiting(t, sockets, { command: ['unshare', '--net'] }),
  ];
  const rows = await rowsOf<SocketRow>('snapshot_socket');
  for (const { pid } of children) {
    const netns = namespaceOf('net', pid);
    const own = rows.filter(({ netns_id: id }) => id === netns);
    t.same(
      own
        .map(
          ({ src, dst, state_raw: state, ino }) =>
            `${src.proto.toLowerCase()} ${src.addr} ${src.port} ${dst.addr} ${dst.port} ${state} ${ino}`,
        )
        .toSorted(),
      procSockets(pid).toSorted(),
      `network namespace ${netns}: what /proc/PID/net has`,
    );
    t.ok(
      own.every(
        ({ src, dst }) => src.proto_raw === dst.proto_raw && src.version === dst.version && (src.version === 6) === src.addr.includes(':'),
      ),
      'both ends are of one kind',
    );
    t.same(
      [...new Set(own.map(({ state, state_raw: raw }) => `${raw} ${state}`))].toSorted(),
      ['1 ESTABLISHED', '10 LISTEN', '5 FIN_WAIT2', '6 TIME_WAIT', '7 CLOSE', '8 CLOSE_WAIT'],
      'states by their names in include/net/tcp_states.h',
    );
  }
  const home = namespaceOf('net');
  t.ok(rows.some(({ netns_id: id }) => id === home) || procSockets(process.pid).length === 0, 'those of this namespace too');
});
