import { createHash } from 'node:crypto';
import { isIPv4, isIPv6 } from 'node:net';
import t from 'tap';
import type { BtfEnum } from '../../src/btf/types.ts';
import { bytesText } from '../../src/gadget/special/bytes.ts';
import { durationText } from '../../src/gadget/special/duration.ts';
import { protocolText } from '../../src/gadget/special/endpoint.ts';
import { bitNames, valueNames } from '../../src/gadget/special/enum.ts';
import { epochNanoseconds, formatEpoch, splitNanoseconds } from '../../src/gadget/special/epoch.ts';
import { errnoText } from '../../src/gadget/special/errno.ts';
import { fileFlagsText } from '../../src/gadget/special/file-flags.ts';
import { fileModeText } from '../../src/gadget/special/file-mode.ts';
import { compileLayout } from '../../src/gadget/special/go-layout.ts';
import { ip6Text, parseIp } from '../../src/gadget/special/ip.ts';
import { signalText } from '../../src/gadget/special/signal.ts';
import { syscallText } from '../../src/gadget/special/syscall.ts';

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

void t.test('errors: glibc has the same names for the same numbers', (t) => {
  // gcc, for (i = 1; i < 200; i++) if (strerrorname_np(i)) printf("%d %s\n", i, strerrorname_np(i)), through sha256sum (glibc 2.36)
  let all = '';
  for (let i = 1; i < 200; i++) if (!errnoText(i).startsWith('error#')) all += `${i} ${errnoText(i)}\n`;
  t.equal(sha256(all), '6d9f1eb5a2388cf8540c79b11b68ffd0195187d24b7862128b413fd980a17cb1');
  t.equal(errnoText(0), '');
  t.equal(errnoText(4000), 'error#4000');
  t.end();
});

void t.test('signals: as Python lists them', (t) => {
  // python3 -c "import signal; print(' '.join(s.name for s in sorted(signal.Signals) if s < 32))"
  const names =
    'SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV SIGUSR2 SIGPIPE SIGALRM SIGTERM SIGSTKFLT SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGXCPU SIGXFSZ SIGVTALRM SIGPROF SIGWINCH SIGIO SIGPWR SIGSYS';
  t.same(
    Array.from({ length: 31 }, (_, i) => signalText(i + 1)),
    names.split(' '),
  );
  for (const number of [0, 32, 34, 64, 200]) t.equal(signalText(number), `signal#${number}`);
  t.end();
});

void t.test('system calls by architecture', (t) => {
  // asm/unistd_64.h, asm-generic/unistd.h
  t.equal(syscallText('x64', 0), 'SYS_READ');
  t.equal(syscallText('x64', 257), 'SYS_OPENAT');
  t.equal(syscallText('x64', 59), 'SYS_EXECVE');
  t.equal(syscallText('arm64', 56), 'SYS_OPENAT');
  t.equal(syscallText('arm64', 221), 'SYS_EXECVE');
  t.equal(syscallText('x64', 99999), 'SYS_UNKNOWN');
  t.end();
});

void t.test('file modes: as Python (stat.filemode) shows all that have a type', (t) => {
  const types = [0o140000, 0o120000, 0o100000, 0o060000, 0o040000, 0o020000, 0o010000];
  const all = Array.from({ length: 65536 }, (_, mode) => mode).filter((mode) => types.includes(mode & 0o170000));
  t.equal(sha256(all.map(fileModeText).join('\n')), '88933c3cc284d1377d367a5627d28a15225bd9801a7fad8f1187c7ade3c6036b');
  t.equal(fileModeText(0), '----------');
  t.equal(fileModeText(0o644), '-rw-r--r--');
  t.end();
});

void t.test('flags of open', (t) => {
  // python3: os.O_*; O_LARGEFILE and arm64 from asm/fcntl.h
  const x64: Readonly<Record<string, number>> = {
    O_APPEND: 1024,
    O_FASYNC: 8192,
    O_CLOEXEC: 524288,
    O_CREAT: 64,
    O_DIRECT: 16384,
    O_DIRECTORY: 65536,
    O_DSYNC: 4096,
    O_EXCL: 128,
    O_LARGEFILE: 32768,
    O_NOATIME: 262144,
    O_NOCTTY: 256,
    O_NOFOLLOW: 131072,
    O_NONBLOCK: 2048,
    O_PATH: 2097152,
    O_SYNC: 1052672,
    O_TMPFILE: 4259840,
    O_TRUNC: 512,
  };
  const arm64 = { ...x64, O_DIRECTORY: 0o40000, O_NOFOLLOW: 0o100000, O_DIRECT: 0o200000, O_LARGEFILE: 0o400000, O_TMPFILE: 0o20040000 };
  for (const [name, bits] of Object.entries(x64)) t.equal(fileFlagsText('x64', bits), `O_RDONLY|${name}`, `${name} on x86-64`);
  for (const [name, bits] of Object.entries(arm64)) t.equal(fileFlagsText('arm64', bits), `O_RDONLY|${name}`, `${name} on arm64`);
  t.equal(fileFlagsText('x64', 0), 'O_RDONLY');
  t.equal(fileFlagsText('x64', 1), 'O_WRONLY');
  t.equal(fileFlagsText('x64', 2), 'O_RDWR');
  t.equal(fileFlagsText('x64', 3), 'O_ACCMODE');
  t.equal(fileFlagsText('x64', 0o4010000 | 0o100 | 1), 'O_WRONLY|O_CREAT|O_SYNC');
  t.equal(fileFlagsText('x64', 0x80000000), 'O_RDONLY|0x80000000');
  t.end();
});

void t.test('amounts of data', (t) => {
  const cases: readonly (readonly [number, string])[] = [
    [0, '0 B'],
    [9, '9 B'],
    [10, '10 B'],
    [999, '999 B'],
    [1000, '1.0 kB'],
    [1024, '1.0 kB'],
    [9999, '10 kB'],
    [82854, '83 kB'],
    [999999, '1000 kB'],
    [1000000, '1.0 MB'],
    [82854982, '83 MB'],
    [1234567890, '1.2 GB'],
    [1e15, '1.0 PB'],
    [1e18, '1.0 EB'],
    [18446744073709552000, '18 EB'],
  ];
  for (const [bytes, text] of cases) t.equal(bytesText(bytes), text, String(bytes));
  t.end();
});

void t.test('durations', (t) => {
  const cases: readonly (readonly [bigint, string])[] = [
    [0n, '0ns'],
    [999n, '999ns'],
    [1_000n, '1.00\u00b5s'],
    [1_500n, '1.50\u00b5s'],
    [1_234_567n, '1.23ms'],
    [999_999n, '1000.00\u00b5s'],
    [1_000_000_000n, '1s'],
    [1_500_000_000n, '1.5s'],
    [62_000_000_000n, '1m2s'],
    [3_600_000_000_000n, '1h0m0s'],
    [3_661_000_000_001n, '1h1m1.000000001s'],
    [90_000_250_000_000n, '25h0m0.25s'],
  ];
  for (const [ns, text] of cases) t.equal(durationText(ns), text);
  t.end();
});

void t.test('times in zones, as date shows them', (t) => {
  // TZ=... date -d @... +%FT%T%:z
  const cases: readonly (readonly [zone: string, seconds: number, text: string])[] = [
    ['UTC', 0, '1970-01-01T00:00:00+00:00'],
    ['UTC', 1700123456, '2023-11-16T08:30:56+00:00'],
    ['Asia/Kolkata', 1720000000, '2024-07-03T15:16:40+05:30'],
    ['America/St_Johns', 0, '1969-12-31T20:30:00-03:30'],
    ['America/St_Johns', 1720000000, '2024-07-03T07:16:40-02:30'],
    ['Europe/Berlin', 1700123456, '2023-11-16T09:30:56+01:00'],
    ['Europe/Berlin', 1720000000, '2024-07-03T11:46:40+02:00'],
    ['Pacific/Chatham', 1700123456, '2023-11-16T22:15:56+13:45'],
  ];
  const before = process.env['TZ'];
  t.teardown(() => {
    if (before === undefined) delete process.env['TZ'];
    else process.env['TZ'] = before;
    formatEpoch({ seconds: -1, nanoseconds: 0 });
  });
  for (const [zone, seconds, text] of cases) {
    process.env['TZ'] = zone;
    // Another second first: the last one's text is kept.
    formatEpoch({ seconds: seconds + 5, nanoseconds: 0 });
    const expected = text.replace(/([+-]..:..)$/, '.000000042$1').replace('+00:00', 'Z');
    t.equal(formatEpoch({ seconds, nanoseconds: 42 }), expected, `${zone} ${seconds}`);
  }
  process.env['TZ'] = 'America/New_York';
  const moment = { seconds: 1136239445, nanoseconds: 123456789 };
  // The reference time itself, as Go's documentation of the time package shows its layouts: Jan 2 15:04:05 2006 MST is 1136239445.
  const layouts: readonly (readonly [layout: string, text: string])[] = [
    ['2006-01-02T15:04:05Z07:00', '2006-01-02T17:04:05-05:00'],
    ['Mon Jan _2 15:04:05 2006', 'Mon Jan  2 17:04:05 2006'],
    ['Monday, 02-Jan-06 15:04:05 -0700', 'Monday, 02-Jan-06 17:04:05 -0500'],
    ['3:04PM', '5:04PM'],
    ['Jan _2 15:04:05.000', 'Jan  2 17:04:05.123'],
    ['05.999999999', '05.123456789'],
    ['002', '002'],
  ];
  for (const [layout, text] of layouts) t.equal(compileLayout(layout)(moment), text, layout);
  t.end();
});

void t.test('nanoseconds are split exactly', (t) => {
  const values = [0n, 1n, 999_999_999n, 1_000_000_000n, 2n ** 32n, 2n ** 53n + 1n, 1_795_380_662_991_941_488n, 2n ** 63n, 2n ** 64n - 1n];
  for (let i = 0n; i < 2000n; i++) values.push(BigInt.asUintN(64, i * 0x9e3779b97f4a7c15n));
  const into = { seconds: 0, nanoseconds: 0 };
  const wrong = values.filter((value) => {
    splitNanoseconds(Number(value >> 32n), Number(value & 0xffffffffn), into);
    return (
      BigInt(into.seconds) !== value / 1_000_000_000n ||
      BigInt(into.nanoseconds) !== value % 1_000_000_000n ||
      epochNanoseconds(into) !== value
    );
  });
  t.same(wrong, []);
  t.end();
});

void t.test('addresses: as Python (ipaddress) writes them, and back', (t) => {
  // 2000 addresses with many zero groups, from a generator that any language can repeat.
  let state = 12345;
  const next = (): number => {
    state = Number((BigInt(state) * 1103515245n + 12345n) & 0x7fffffffn);
    return state >>> 8;
  };
  const texts: string[] = [];
  let wrong = 0;
  for (let i = 0; i < 2000; i++) {
    const bytes = new Uint8Array(16);
    for (let k = 0; k < 8; k++) {
      const group = next() % 2 !== 0 ? 0 : next() & 0xffff;
      bytes[k * 2] = group >> 8;
      bytes[k * 2 + 1] = group & 0xff;
    }
    const text = ip6Text(bytes, 0);
    texts.push(text);
    if (!isIPv6(text) || Buffer.compare(parseIp(text) ?? new Uint8Array(0), bytes) !== 0) wrong++;
  }
  t.equal(sha256(texts.join('\n')), 'e8ac9b6bee68ac8a30ecad0c3c4c2a24c4fd1ed838f4ae3e6585d7a637615230');
  t.equal(wrong, 0);
  // socket.inet_ntop
  t.equal(ip6Text(Buffer.from('00000000000000000000ffffc0000201', 'hex'), 0), '::ffff:192.0.2.1');
  t.same(parseIp('1.2.3.4'), Uint8Array.of(1, 2, 3, 4));
  for (const bad of ['', '1.2.3', '1.2.3.4.5', '::1::', 'example.org', '::1%lo', '1:2:3:4:5:6:7:8:9']) t.equal(parseIp(bad), null, bad);
  t.ok(isIPv4('1.2.3.4'));
  t.end();
});

void t.test('protocols', (t) => {
  // getent protocols
  t.equal(protocolText(6), 'TCP');
  t.equal(protocolText(17), 'UDP');
  t.equal(protocolText(58), 'ICMPV6');
  t.equal(protocolText(200), 'proto#200');
  t.end();
});

void t.test('enums', (t) => {
  const type = (size: number, signed: boolean, values: Readonly<Record<string, bigint>>): BtfEnum => ({
    kind: size === 8 ? 'ENUM64' : 'ENUM',
    id: 1,
    name: 'e',
    size,
    signed,
    values: Object.entries(values).map(([name, value]) => ({ name, value })),
  });
  const names = valueNames(type(4, true, { A: 0n, B: 1n, ALIAS: 1n, MINUS: -1n }));
  t.same([names(0n), names(1n), names(-1n), names(7n)], ['A', 'B', 'MINUS', 'UNKNOWN']);
  const bits = bitNames(type(4, false, { NONE: 0n, R: 1n, W: 2n, RW: 3n, TOP: 0x80000000n }), '|');
  t.same([bits(0n), bits(1n), bits(3n), bits(0x80000008n)], ['NONE', 'R', 'R|W|RW', 'TOP|0x8']);
  t.equal(bitNames(type(4, true, { TOP: -2147483648n }), '|')(-2147483648n), 'TOP', 'the sign bit of a signed enum');
  t.equal(bitNames(type(8, false, { HIGH: 1n << 63n }), ',')((1n << 63n) | 1n), 'HIGH,0x1');
  t.end();
});
