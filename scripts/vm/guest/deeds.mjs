// What is done while a gadget runs in a guest, and how its rows tell that they saw it.
import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readSync, rmdirSync, writeFileSync, writeSync } from 'node:fs';
import net from 'node:net';

const PORT = 4343;
const NAME = 'rawbpf-deed';
const FILE = `/tmp/${NAME}`;

/** Runs a program to its end, whatever that is; what cannot be started is an error. */
function run(program, args) {
  const { error } = spawnSync(program, args);
  if (error !== undefined) throw error;
}
const perl = (code) => run('/usr/bin/perl', ['-e', `$0 = "${NAME}"; ${code}`]);
const has = (text) => (json) => json.includes(text);
const datagram = (port, bytes, to = '127.0.0.1') =>
  perl(`use Socket; socket(S, AF_INET, SOCK_DGRAM, 0); send(S, "${bytes}", 0, pack_sockaddr_in(${port}, inet_aton("${to}")))`);

/** A datagram to an address that is not 127.0.0.0/8, though it stays on lo. */
function datagramToOther() {
  spawnSync('ip', ['address', 'add', '10.98.7.6/32', 'dev', 'lo']);
  datagram(PORT, NAME, '10.98.7.6');
}

/** A DNS question for the A record of rawbpf-deed.test. */
const question = `\\x12\\x34\\x01\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x0b${NAME}\\x04test\\x00\\x00\\x01\\x00\\x01`;

/** Bytes sent over a TCP connection on lo: resolves when all of them have come. */
function transfer(port, bytes) {
  return new Promise((resolve, reject) => {
    const server = net.createServer((socket) => {
      let rest = bytes.length;
      socket.on('data', (data) => {
        rest -= data.length;
        if (rest > 0) return;
        socket.end();
        server.close();
      });
      socket.on('error', reject);
      socket.on('close', () => resolve());
    });
    server.on('error', reject);
    server.listen(port, '127.0.0.1', () => {
      const client = net.connect(port, '127.0.0.1', () => client.write(bytes));
      client.on('error', () => {});
      client.on('data', () => {});
      client.on('end', () => client.end());
    });
  });
}

/** The first message of a TLS connection, with the name that is asked for. */
function clientHello() {
  const name = Buffer.from(`${NAME}.test`);
  const u16 = (value) => Buffer.from([value >> 8, value & 255]);
  const sized = (bytes, width) => Buffer.concat([Buffer.from([...(width === 3 ? [0] : []), bytes.length >> 8, bytes.length & 255]), bytes]);
  const serverName = sized(Buffer.concat([Buffer.from([0]), sized(name, 2)]), 2);
  const extensions = sized(Buffer.concat([u16(0), sized(serverName, 2)]), 2);
  const body = Buffer.concat([u16(0x0303), Buffer.alloc(32, 7), Buffer.from([0]), sized(u16(0x1301), 2), Buffer.from([1, 0]), extensions]);
  const handshake = Buffer.concat([Buffer.from([1]), sized(body, 3)]);
  return Buffer.concat([Buffer.from([22, 3, 1]), sized(handshake, 2)]);
}

let disk;
/** A loop device over a file in RAM. */
function loopDevice() {
  if (disk !== undefined) return disk;
  spawnSync('modprobe', ['loop']);
  const file = '/dev/shm/rawbpf-disk';
  writeFileSync(file, Buffer.alloc(1 << 20));
  disk = execFileSync('losetup', ['--find', '--show', file], { encoding: 'utf8' }).trim();
  return disk;
}
const writeBlocks = () => run('dd', ['if=/dev/zero', `of=${loopDevice()}`, 'bs=4096', 'count=16', 'oflag=direct', 'conv=notrunc']);

/** Starts a program that takes more memory than its control group may have. */
function runOutOfMemory() {
  const group = `/sys/fs/cgroup/${NAME}`;
  writeFileSync('/sys/fs/cgroup/cgroup.subtree_control', '+memory');
  mkdirSync(group, { recursive: true });
  writeFileSync(`${group}/memory.max`, String(16 << 20));
  spawnSync('/bin/sh', [
    '-c',
    `echo $$ > ${group}/cgroup.procs; exec /usr/bin/perl -e '$0 = "${NAME}"; my $n = 64 << 20; my $x = "x" x $n; sleep 1'`,
  ]);
  for (let i = 0; i < 50; i++) {
    try {
      rmdirSync(group);
      return;
    } catch {
      spawnSync('sleep', ['0.1']);
    }
  }
}

let kept = [];
/** Open while a snapshot is taken. */
function openFile() {
  kept.push(openSync(FILE, 'w+'));
}

/**
 * By gadget: `act`, `seen` of a row's JSON text and the row, `exact` where each deed makes one row and no more; `params` it
 * is run with; `after` undoes what stays; `none`: why there is no deed.
 */
export const deeds = {
  advise_networkpolicy: { act: datagramToOther, seen: has(String(PORT)) },
  profile_blockio: { act: writeBlocks, seen: (json) => json.length > 2 },
  // User stacks are left to its own test: node's symbols alone take an emulated machine minutes to read.
  profile_cpu: {
    act: () => perl('my $end = time + 2; while (time < $end) { $x++ }'),
    seen: has(NAME),
    params: { 'kernel-stacks-only': true },
  },
  snapshot_file: {
    act: openFile,
    seen: (json) => json.includes(NAME) || json.includes(String(process.pid)),
    after: () => (kept.forEach((fd) => closeSync(fd)), (kept = [])),
  },
  snapshot_process: { act: () => {}, seen: has(`"pid":${process.pid},`) },
  snapshot_socket: {
    act: () =>
      new Promise((resolve) => {
        const server = net.createServer();
        kept.push(server);
        server.listen(0, '127.0.0.1', resolve);
        server.on('listening', () => (server.wanted = server.address().port));
      }),
    seen: (json) => kept.some((server) => json.includes(String(server.wanted))),
    after: () => (kept.forEach((server) => server.close()), (kept = [])),
  },
  tcpdump: { act: () => datagram(PORT, NAME), seen: (json) => json.length > 2 },
  top_blockio: { act: writeBlocks, seen: (json) => json.includes('"dd"') || json.includes('loop') },
  top_file: {
    act: () => {
      const fd = openSync(FILE, 'w+');
      writeSync(fd, NAME);
      readSync(fd, Buffer.alloc(8), 0, 8, 0);
      closeSync(fd);
    },
    seen: has(NAME),
  },
  top_tcp: { act: () => transfer(PORT, Buffer.alloc(20_000)), seen: has(String(PORT)) },
  trace_bind: {
    act: () => perl('use Socket; socket(S, AF_INET, SOCK_DGRAM, 0); bind(S, pack_sockaddr_in(4242, INADDR_LOOPBACK))'),
    seen: (json, row) => row.addr.port === 4242 && row.addr.proto === 'UDP',
    exact: true,
  },
  trace_capabilities: { act: () => perl('chroot("/")'), seen: (json) => json.includes(NAME) && json.includes('CHROOT') },
  trace_dns: { act: () => datagram(53, question), seen: has(`${NAME}.test`) },
  trace_exec: { act: () => run('/bin/true', [NAME]), seen: has(NAME), exact: true },
  trace_lsm: { act: () => perl(`open(F, ">", "${FILE}")`), seen: has(NAME), params: { 'trace-file_open': true } },
  trace_malloc: { act: () => perl('my $x = "x" x 100000'), seen: has('perl') },
  trace_mount: {
    act: () => run('/bin/umount', [`/nowhere/${NAME}`]),
    seen: (json, row) => row.op === 'UMOUNT' && json.includes(NAME),
    exact: true,
  },
  trace_oomkill: { act: runOutOfMemory, seen: has(NAME), exact: true },
  trace_open: { act: () => run('/bin/cat', [FILE]), seen: (json) => json.includes(FILE) && json.includes('"cat"'), exact: true },
  trace_signal: {
    act: () => run('/bin/sh', ['-c', 'kill -s USR2 $$']),
    seen: (json, row) => row.sig === 'SIGUSR2' && row.tpid === row.proc.pid,
    exact: true,
  },
  trace_sni: { act: () => transfer(443, clientHello()), seen: has(`${NAME}.test`) },
  trace_ssl: { none: 'its own test makes TLS connections' },
  trace_tcp: {
    act: () => run('/bin/bash', ['-c', 'exec 3<>/dev/tcp/127.0.0.1/7']),
    seen: (json, row) => row.error === 'ECONNREFUSED' && row.dst.port === 7,
    exact: true,
  },
  trace_tcpdrop: {
    act: () => run('/bin/bash', ['-c', 'exec 3<>/dev/tcp/127.0.0.1/7']),
    seen: (json) => /"port":7\b/.test(json),
  },
  trace_tcpretrans: { none: 'its own test has packets lost' },
};
