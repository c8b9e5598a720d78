// Inspektor Gadget's own gadgets, unmodified, compiled against include/ by scripts/inspektor-gadget.mjs, which see. Each is run,
// something is made happen, and the fields as the program in the kernel wrote them are compared with what others say of it.
//
//   RAWBPF_PEER_GADGETS=FOLDER npm run test:soak -- inspektor-gadget
//
// A gadget that cannot be attached on this kernel is told, not failed; ONLY=a,b runs those alone.
import { rmSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { slowness } from '../support/patience.ts';
import { folder, scratch } from '../support/peer-gadgets/case.ts';
import { kprobeCases } from '../support/peer-gadgets/kprobes.ts';
import { otherCases } from '../support/peer-gadgets/others.ts';
import { stopListening, tracepointCases } from '../support/peer-gadgets/tracepoints.ts';
import { RunningGadget } from '../support/run-gadget.ts';

const only = process.env['ONLY']?.split(',') ?? null;
t.teardown(() => scratch === '' || rmSync(scratch, { recursive: true }));
t.setTimeout(3_000_000 * slowness);

/** Attached only: its module makes the maps that it writes to, and reads them. */
const others = ['traceloop'];

async function start(gadget: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<RunningGadget | string> {
  try {
    return await RunningGadget.start(gadget, ['--no-containers', ...args], env);
  } catch (error) {
    const lines = String(error)
      .split('\n')
      .filter((line) => line.includes('rawbpf: '));
    return lines.at(-1)?.slice(0, 300) ?? String(error);
  }
}

const counted = { attached: [] as string[], compared: [] as string[] };

for (const { gadget, args = [], env, prepare, work, check } of folder === '' ? [] : [...tracepointCases, ...kprobeCases, ...otherCases]) {
  if (only !== null && !only.includes(gadget)) continue;
  void t.test(gadget, async (t) => {
    // What is snapped has to be there before.
    const before = gadget.startsWith('snapshot_') ? await work(t, 0) : null;
    const running = await start(prepare?.(t) ?? path.join(folder, gadget), args, env);
    if (typeof running === 'string') {
      t.comment(`not attached: ${running}`);
      return;
    }
    counted.attached.push(gadget);
    const ended = before ?? (await work(t, running.pid));
    const output = await running.stop();
    stopListening();
    const lines = ended.text.trim().split('\n');
    const said = new Map(lines.map((line) => [line.split(' ')[0] ?? '', line.split(' ').slice(1)]));
    check(t, output.events.flat(), { ...ended, said }, output);
    if (t.passing()) counted.compared.push(gadget);
    else t.comment(`${output.stderr.slice(-600)} ${JSON.stringify(output.events.flat().slice(-2)).slice(0, 3000)}`);
  });
}

for (const gadget of folder === '' ? [] : others) {
  if (only !== null && !only.includes(gadget)) continue;
  void t.test(gadget, async (t) => {
    const running = await start(path.join(folder, gadget), []);
    if (typeof running === 'string') return t.comment(`not attached: ${running}`);
    counted.attached.push(gadget);
    t.equal((await running.stop()).code, 0, 'attached and let go');
  });
}

void t.test('counted', { skip: folder === '' ? 'RAWBPF_PEER_GADGETS names no folder' : false }, (t) => {
  t.comment(`${counted.attached.length} attached; ${counted.compared.length} compared: ${counted.compared.join(' ')}`);
  t.ok(counted.attached.length > 0);
  t.end();
});
