// Gadgets that need kprobes.
import { readFileSync, realpathSync, statSync } from 'node:fs';
import path from 'node:path';
import { networkPerl } from '../network.ts';
import { expectProcess, expectTime, namespaceOf, runPerl } from '../process.ts';
import type { JsonEvent } from '../run-gadget.ts';
import { endpoint, loopbackPair, of, one, scratch, wait, who, type Case } from './case.ts';

const sum = (rows: readonly JsonEvent[], name: string): number => rows.reduce((all, row) => all + Number(row[name]), 0);

export const kprobeCases: readonly Case[] = [
  {
    gadget: 'trace_exec',
    args: ['--paths'],
    work: () => runPerl(`chdir $ARGV[0]; exec "/bin/echo", "a", "b c", "" or die`, scratch),
    check(t, rows, made) {
      const row = one(t, rows, 'exec', (each) => each.proc.pid === made.pid && each.proc.comm === 'echo');
      const { dev, ino } = statSync('/bin/echo');
      const file = realpathSync('/bin/echo');
      t.match(row, {
        // Their number and their bytes are read as a list here.
        argv: ['/bin/echo', 'a', 'b c', ''],
        error_raw: 0,
        cwd: scratch,
        exepath: file,
        file,
        inode: ino,
        parent_exepath: process.execPath,
        upper_layer: false,
      });
      // Of a file in an overlay, stat() tells another device than its inode does.
      if (!readFileSync('/proc/mounts', 'utf8').includes(' / overlay'))
        t.match(row, { dev_major: (dev >> 8) & 0xfff, dev_minor: dev & 0xff });
      t.equal(row?.['loginuid'], Number(readFileSync('/proc/self/loginuid', 'utf8')));
      expectTime(t, row, made, 'exec');
      t.match(row?.proc, { pid: made.pid, tid: made.pid, parent: { pid: process.pid } });
    },
  },
  {
    gadget: 'trace_bind',
    args: ['--ignore-errors=false'],
    work: () =>
      runPerl(String.raw`${networkPerl} my $a = fresh; setsockopt($a, SOL_SOCKET, SO_REUSEADDR, 1); bind($a, at(AF_INET, "127.0.0.1", 0)) or die; print "port ", port_of($a), "\n";
        socket(my $b, AF_INET6, SOCK_DGRAM, 0); bind($b, at(AF_INET6, "::1", 0)) or die; print "port6 ", port_of($b), "\n";
        my $c = fresh; bind($c, at(AF_INET, "192.0.2.9", 4242)) and die; print "error ", $!+0, "\n"`),
    check(t, rows, made) {
      const own = rows.filter(of(made));
      const tcp = one(t, own, 'tcp', (each) => each['error_raw'] === 0 && (each['addr'] as { version: number }).version === 4);
      t.match(tcp, { addr: endpoint('127.0.0.1', made.said.get('port')?.[0], 'TCP'), opts: 'REUSEADDRESS', bound_dev_if: 0 });
      who(t, tcp, made, 'tcp');
      const udp = one(t, own, 'udp', (each) => (each['addr'] as { version: number }).version === 6);
      t.match(udp, { addr: endpoint('::1', made.said.get('port6')?.[0], 'UDP'), error_raw: 0, opts_raw: 0 });
      one(t, own, 'failed', (each) => each['error_raw'] === Number(made.said.get('error')?.[0]) && each['error'] === 'EADDRNOTAVAIL');
    },
  },
  {
    gadget: 'trace_tcp',
    work: () => runPerl(`${loopbackPair} close $client; close $accepted;`),
    check(t, rows, made) {
      const own = rows.filter(of(made));
      const client = endpoint('127.0.0.1', made.said.get('client')?.[0], 'TCP');
      const server = endpoint('127.0.0.1', made.said.get('server')?.[0], 'TCP');
      const connected = one(t, own, 'connect', (each) => each['type'] === 'connect');
      t.match(connected, { src: client, dst: server, error_raw: 0, fd: Number(made.said.get('fd')?.[0]) });
      who(t, connected, made, 'connect');
      const accepted = one(t, own, 'accept', (each) => each['type'] === 'accept');
      const [, newFd, listenerFd] = (made.said.get('fd') ?? []).map(Number);
      t.match(accepted, { src: server, dst: client, error_raw: 0, accept_fd: newFd, fd: listenerFd });
      t.ok(own.filter((each) => each['type'] === 'close').length >= 2, 'both were closed');
    },
  },
  {
    gadget: 'trace_capabilities',
    work: () =>
      runPerl(`print "userns ", readlink("/proc/self/ns/user") =~ /(\\d+)/, "\\n"; open my $f, "<", "/proc/self/status"; my ($c) = join("", <$f>) =~ /^CapEff:\\s*(\\w+)/m;
               print "caps $c\\n"; my $root = "/"; syscall(161, $root) == 0 or die`),
    check(t, rows, made) {
      const row = one(t, rows.filter(of(made)), 'chroot', (each) => each['cap'] === 'CAP_SYS_CHROOT');
      const userns = Number(made.said.get('userns')?.[0]);
      t.match(row, {
        cap_raw: 18,
        capable: true,
        syscall: 'SYS_CHROOT',
        syscall_raw: 161,
        current_userns: userns,
        target_userns: userns,
        audit: 1,
      });
      // Exact below 2^53: 41 capabilities.
      t.equal(row?.['cap_effective_raw'], Number.parseInt(made.said.get('caps')?.[0] ?? '', 16), 'CapEff of /proc');
      t.match(row?.['kstack'], /chroot/);
      who(t, row, made, 'chroot');
    },
  },
  {
    gadget: 'top_file',
    work: async () => {
      const made = await runPerl(
        `open(my $f, "+>", "$ARGV[0]/top") or die; syswrite $f, "x" x 1000 for 1 .. 7; sysseek $f, 0, 0; sysread $f, my $b, 300 for 1 .. 5;`,
        scratch,
      );
      await wait(1500);
      return made;
    },
    check(t, rows, made) {
      const own = rows.filter((each) => of(made)(each) && path.basename(String(each['file'])) === 'top');
      t.same(
        ['reads', 'rbytes_raw', 'writes', 'wbytes_raw'].map((name) => sum(own, name)),
        [5, 1500, 7, 7000],
      );
      for (const row of own) expectProcess(t, row.proc, { pid: made.pid, comm: 'perl' }, 'file');
      t.ok(
        own.every((row) => row['t'] === 'R'),
        'a regular file',
      );
    },
  },
  {
    gadget: 'top_tcp',
    work: async () => {
      const made = await runPerl(
        `${loopbackPair} syswrite $client, "x" x 5000; my $left = 5000; while ($left > 0) { $left -= sysread $accepted, my $b, 5000 }`,
      );
      await wait(1500);
      return made;
    },
    check(t, rows, made) {
      const own = rows.filter((row) => row['pid'] === made.pid);
      const client = endpoint('127.0.0.1', made.said.get('client')?.[0], 'TCP');
      const server = endpoint('127.0.0.1', made.said.get('server')?.[0], 'TCP');
      const sent = own.filter((row) => (row['src'] as { port: number }).port === (client as { port: number }).port);
      const received = own.filter((row) => (row['src'] as { port: number }).port === (server as { port: number }).port);
      t.equal(sum(sent, 'sent_raw'), 5000);
      t.equal(sum(received, 'received_raw'), 5000);
      t.match(sent[0], { src: client, dst: server, comm: 'perl', tid: made.pid, mntns_id: namespaceOf('mnt') });
    },
  },
  {
    gadget: 'trace_link',
    work: () =>
      runPerl(
        `symlink("the-target", "$ARGV[0]/soft") or die; open my $f, ">", "$ARGV[0]/linked"; link("$ARGV[0]/linked", "$ARGV[0]/hard") or die`,
        scratch,
      ),
    check(t, rows, made) {
      const own = rows.filter(of(made));
      const soft = one(t, own, 'symlink', (each) => each['type'] === 'SYMLINK');
      t.match(soft, { type_raw: 1, target: 'the-target' });
      t.match(soft?.['linkpath'], /soft$/);
      who(t, soft, made, 'symlink');
      const hard = one(t, own, 'link', (each) => each['type'] === 'HARDLINK');
      t.match(hard, { type_raw: 0, target: /linked$/, linkpath: /hard$/ });
    },
  },
  {
    gadget: 'fdpass',
    work: () =>
      runPerl(
        `use Socket; open(my $f, "+>", "$ARGV[0]/passed") or die; socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, 0) or die;
         my $byte = "x"; my $vec = pack("PQ", $byte, 1); my $control = pack("QiiIx4", 20, 1, 1, fileno $f);
         my $message = pack("QIx4PQPQix4", 0, 0, $vec, 1, $control, length $control, 0);
         syscall(46, fileno $a, $message, 0) == 1 or die $!; print "fd ", fileno($f), " ", fileno($a), " ", (stat $a)[1], "\\n"`,
        scratch,
      ),
    check(t, rows, made) {
      const row = one(t, rows, 'a file that was passed', of(made));
      const [fd, sockfd, ino] = (made.said.get('fd') ?? []).map(Number);
      t.match(row, { fd, sockfd, socket_ino: ino, file: /passed$/ });
      who(t, row, made, 'passed');
    },
  },
  {
    gadget: 'ttysnoop',
    work: () =>
      runPerl(`open(my $m, "+<", "/dev/ptmx") or die $!; my $zero = pack "i", 0; ioctl($m, 0x40045431, $zero) or die; my $n = pack "i", 0; ioctl($m, 0x80045430, $n) or die;
               open(my $s, "+<", "/dev/pts/" . unpack("i", $n)) or die $!; print "ino ", (stat $s)[1], "\\n"; syswrite $s, "typed by rawbpf"`),
    check(t, rows, made) {
      const row = one(t, rows.filter(of(made)), 'what was written', (each) => String(each['buf']).startsWith('typed by rawbpf'));
      t.match(row, { len: 15, ino: Number(made.said.get('ino')?.[0]) });
      who(t, row, made, 'tty');
    },
  },
  {
    gadget: 'audit_seccomp',
    work: () =>
      // "getppid fails with EPERM, everything else is allowed", logged: load the number, compare, return.
      runPerl(`my $code = pack("SCCL" x 4, 0x20, 0, 0, 0, 0x15, 0, 1, 110, 6, 0, 0, 0x7ffc0000, 6, 0, 0, 0x7fff0000); my $program = pack("Sx6P", 4, $code);
               syscall(157, 38, 1, 0, 0, 0) == 0 or die; syscall(157, 22, 2, $program) == 0 or die $!; syscall(110)`),
    check(t, rows, made) {
      const row = one(t, rows, 'a call that is logged', of(made));
      t.match(row, { syscall: 'SYS_GETPPID', syscall_raw: 110, code_raw: 0x7ffc0000, code: 'SECCOMP_RET_LOG' });
      who(t, row, made, 'seccomp');
    },
  },
  {
    gadget: 'fsnotify',
    work: () =>
      runPerl(
        `my $path = $ARGV[0]; my $fd = syscall(253); my $wd = syscall(254, $fd, $path, 0x100); print "wd $wd\\ndir ", (stat $path)[1], "\\n";
               open my $f, ">", "$path/seen"; close $f; print "ino ", (stat "$path/seen")[1], "\\n"; open my $i, "<&=", $fd; sysread $i, my $event, 4096; print "got ", length $event, "\\n"`,
        scratch,
      ),
    check(t, rows, made) {
      const own = rows.filter((row) => (row as unknown as { tracer: { pid: number } }).tracer.pid === made.pid);
      const row = one(t, own, 'a file that was made', (each) => each['type'] === 'inotify');
      t.match(row, {
        i_wd: Number(made.said.get('wd')?.[0]),
        name: 'seen',
        i_ino_dir: Number(made.said.get('dir')?.[0]),
        i_mask: 'IN_CREATE',
      });
      t.match(row, {
        tracer: { pid: made.pid, comm: 'perl' },
        tracee: { pid: made.pid, comm: 'perl' },
        i_ino: Number(made.said.get('ino')?.[0]),
      });
    },
  },
  {
    gadget: 'trace_init_module',
    work: () =>
      runPerl(
        `my ($image, $params) = ("no module" x 10, "a=1 b=2"); syscall(175, $image, 90, $params) == 0 and die; open my $f, "<", "/etc/passwd"; print "fd ", fileno($f), "\\n"; syscall(313, fileno $f, $params, 3)`,
      ),
    check(t, rows, made) {
      const own = rows.filter(of(made));
      const init = one(t, own, 'init_module', (each) => each['syscall'] === 'init_module');
      t.match(init, { syscall_raw: 0, len: 90, param_values: 'a=1 b=2' });
      who(t, init, made, 'init_module');
      const finit = one(t, own, 'finit_module', (each) => each['syscall'] === 'finit_module');
      t.match(finit, { syscall_raw: 1, fd: Number(made.said.get('fd')?.[0]), flags: 3, param_values: 'a=1 b=2', filepath: '/etc/passwd' });
    },
  },
  {
    gadget: 'profile_tcprtt',
    work: async () => {
      const made = await runPerl(
        `${loopbackPair} for (1 .. 100) { syswrite $client, "x"; sysread $accepted, my $b, 1; syswrite $accepted, "y"; sysread $client, $b, 1 }`,
      );
      await wait(1500);
      return made;
    },
    check(t, rows) {
      const count = rows.flatMap((row) => row['latency'] as number[]).reduce((sum, slot) => sum + slot, 0);
      t.ok(count >= 100, `${count} segments of established connections`);
    },
  },
];
