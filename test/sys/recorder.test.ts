import t from 'tap';
import { fromHex, toCString, toHex } from '../../src/bytes/text.ts';
import { bpf, bpfCall, bpfOrThrow } from '../../src/sys/bpf.ts';
import type { CapturedBuffer, CapturedCall } from '../../src/sys/captured-call.ts';
import { FakeBackend, type FakeCall } from '../../src/sys/fake-backend.ts';
import { failCall, failNamed, FaultInjector, withoutRingbuf, type Fault } from '../../src/sys/fault-injector.ts';
import { Recorder } from '../../src/sys/recorder.ts';
import { recordingFromJson, recordingToJson, Replayer } from '../../src/sys/replayer.ts';
import { Sys } from '../../src/sys/sys.ts';

// r0 = 0; exit
const insns = fromHex('b700000000000000 9500000000000000');

/** Something that makes calls: a map, a program, a look at its info, and the answers. */
function session(sys: Sys): unknown[] {
  const map = bpf(sys, 'BPF_MAP_CREATE', { map_type: 2, key_size: 4, value_size: 8, max_entries: 1, map_name: 'counts' });
  const prog = bpf(sys, 'BPF_PROG_LOAD', { prog_type: 1, insns, insn_cnt: 2, license: toCString('GPL'), prog_name: 'nothing' });
  const info = new Uint8Array(32);
  const infoResult = bpf(sys, 'BPF_OBJ_GET_INFO_BY_FD', { bpf_fd: prog, info_len: info.length, info });
  const { result, attr } = bpfCall(sys, 'BPF_PROG_GET_NEXT_ID', { start_id: 7 });
  return [map, prog, infoResult, toHex(info), result, toHex(attr.subarray(4, 8))];
}

function kernel(call: FakeCall): number | undefined {
  if (call.name !== 'bpf') return undefined;
  const attr = call.args[1] as Uint8Array;
  const view = new DataView(attr.buffer);
  if (call.args[0] === 15) call.buffer(view.getBigUint64(8, true))?.set(fromHex('01000000 2a000000'));
  if (call.args[0] === 11) view.setUint32(4, 42, true);
  return undefined;
}

function buffer(call: CapturedCall | undefined, index: number): CapturedBuffer {
  const arg = call?.args[index];
  if (typeof arg !== 'object' || arg === null) throw new Error('no buffer');
  return arg;
}

function record(): CapturedCall[] {
  const recorder = new Recorder(new FakeBackend('x64', kernel), 'x64');
  session(new Sys(recorder, 'x64'));
  return recorder.calls;
}

function make(...faults: readonly Fault[]): { sys: Sys; injector: FaultInjector } {
  const injector = new FaultInjector(new FakeBackend('x64'), 'x64', faults);
  return { sys: new Sys(injector, 'x64'), injector };
}

void t.test('the bytes of a map and a program', async (test) => {
  const recorder = new Recorder(new FakeBackend('x64', kernel), 'x64');
  session(new Sys(recorder, 'x64'));
  const [map, prog] = recorder.calls;
  test.same([map?.name, map?.nr, map?.args[0], map?.args[2], map?.result], ['bpf', 321, 0, 92, 3]);
  // union bpf_attr by hand from include/uapi/linux/bpf.h; bpf-attr.kernel.test.ts holds the offsets against the kernel.
  test.equal(
    toHex(buffer(map, 1).before),
    `02000000 04000000 08000000 01000000 ${'00'.repeat(12)} ${toHex(toCString('counts'))}`.replaceAll(' ', '').padEnd(184, '0'),
  );
  const attr = toHex(buffer(prog, 1).before);
  test.equal(
    attr.slice(0, 48),
    '01000000 02000000 0000000002000000 0000000003000000'.replaceAll(' ', ''),
    'the addresses are the same in every run',
  );
  test.equal(attr.slice(96, 128), toHex(toCString('nothing')).padEnd(32, '0'));
  test.same(
    prog?.nested.map((nested) => toHex(nested.before)),
    [toHex(insns), toHex(toCString('GPL'))],
  );
  test.equal(buffer(prog, 1).after, null);
});

void t.test('what the kernel wrote is recorded', async (test) => {
  const recorder = new Recorder(new FakeBackend('x64', kernel), 'x64');
  session(new Sys(recorder, 'x64'));
  const [, , info, next] = recorder.calls;
  test.equal(toHex(info?.nested[0]?.after?.subarray(0, 8) ?? new Uint8Array()), '010000002a000000');
  test.equal(toHex(buffer(next, 1).after?.subarray(4, 8) ?? new Uint8Array()), '2a000000');
});

void t.test('a recording is the same each time, and survives JSON', async (test) => {
  const once = recordingToJson(record());
  test.equal(once, recordingToJson(record()));
  test.equal(recordingToJson(recordingFromJson(once)), once);
});

void t.test('a listener gets the calls instead', async (test) => {
  const names: string[] = [];
  const recorder = new Recorder(new FakeBackend('arm64'), 'arm64', (call) => names.push(call.name));
  new Sys(recorder, 'arm64').call('getpid');
  test.same(names, ['getpid']);
  test.same(recorder.calls, []);
});

void t.test('a replay answers as the recording did', async (test) => {
  const recorder = new Recorder(new FakeBackend('x64', kernel), 'x64');
  const answers = session(new Sys(recorder, 'x64'));
  const replayer = new Replayer(recordingFromJson(recordingToJson(recorder.calls)), 'x64');
  test.same(session(new Sys(replayer, 'x64')), answers);
  test.equal(replayer.remaining, 0);
  test.throws(() => new Sys(replayer, 'x64').call('getpid'), { code: 'E_REPLAY', why: 'the recording has ended' });
});

void t.test('a replay notices what differs', async (test) => {
  const recorder = new Recorder(new FakeBackend('x64', kernel), 'x64');
  const sys = new Sys(recorder, 'x64');
  bpf(sys, 'BPF_PROG_LOAD', { prog_type: 1, insns, insn_cnt: 2 });
  const replay = (): Sys => new Sys(new Replayer(recorder.calls, 'x64'), 'x64');
  test.throws(() => replay().call('getpid'), { code: 'E_REPLAY', why: 'bpf is next in the recording' });
  test.throws(() => bpf(replay(), 'BPF_PROG_LOAD', { prog_type: 2, insns, insn_cnt: 2 }), {
    code: 'E_REPLAY',
    why: 'argument 1 differs from byte 0 on',
  });
  test.throws(() => bpf(replay(), 'BPF_PROG_LOAD', { prog_type: 1, insns: insns.slice(8), insn_cnt: 2 }), {
    code: 'E_REPLAY',
    why: 'nested buffer 0 differs from byte 0 on',
  });
  test.throws(() => bpf(replay(), 'BPF_MAP_CREATE', { map_type: 1 }), { code: 'E_REPLAY', why: 'argument 0 is 0, recorded 5' });
});

void t.test('faults', async (test) => {
  const nth = make(failCall(1, 'ENOMEM'));
  test.same([nth.sys.call('getpid'), nth.sys.call('getpid'), nth.sys.call('getpid')], [0, -12, 0]);
  test.equal(nth.injector.injected, 1);
  const again = make(failNamed('BPF_PROG_LOAD', 'EAGAIN', { skip: 1, times: 2 }));
  const load = (): number => bpf(again.sys, 'BPF_PROG_LOAD', { prog_type: 1, insns, insn_cnt: 2 });
  test.same([load(), load(), load(), load()], [3, -11, -11, 4]);
  test.equal(bpf(again.sys, 'BPF_MAP_CREATE', { map_type: 1 }), 5);
  const denied = make(failNamed('bpf', 'EPERM'));
  test.throws(() => bpfOrThrow(denied.sys, 'BPF_MAP_CREATE', { map_type: 1 }), {
    code: 'E_SYSCALL',
    syscall: 'bpf(BPF_MAP_CREATE)',
    errnoName: 'EPERM',
  });
});

void t.test('a kernel without ring buffers', async (test) => {
  const injector = new FaultInjector(new FakeBackend('x64'), 'x64', [withoutRingbuf()]);
  const sys = new Sys(injector, 'x64');
  // call 130 (bpf_ringbuf_output); exit
  const ringbuf = fromHex('8500000082000000 9500000000000000');
  // ldimm64 whose second half looks like a call; a bpf-to-bpf call 130; exit
  const innocent = fromHex('1800000000000000 8500000082000000 8510000082000000 9500000000000000');
  test.equal(bpf(sys, 'BPF_MAP_CREATE', { map_type: 27, max_entries: 4096 }), -22);
  test.equal(bpf(sys, 'BPF_MAP_CREATE', { map_type: 4, max_entries: 4096 }), 3);
  test.equal(bpf(sys, 'BPF_PROG_LOAD', { prog_type: 5, insns: ringbuf, insn_cnt: 2 }), -22);
  test.equal(bpf(sys, 'BPF_PROG_LOAD', { prog_type: 5, insns: innocent, insn_cnt: 4 }), 4);
});
