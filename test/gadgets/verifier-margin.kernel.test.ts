// The verifier follows a million instructions at most, counting each as often as it comes there: programs about packets stay far below,
// so that a longer header or another kernel's verifier does not tip them over.
import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { slowness } from '../support/patience.ts';
import { RunningGadget } from '../support/run-gadget.ts';

t.setTimeout(110_000 * slowness);

/** A tenth of what the kernel allows (BPF_COMPLEXITY_LIMIT_INSNS of linux/bpf.h). */
const most = 100_000;
const networkTypes = new Map([
  [1, 'socket filter'],
  [3, 'classifier'],
]);

/** How many instructions the verifier followed for each socket filter and classifier of a process. Linux 5.16. */
function followed(pid: number): readonly number[] {
  const found = new Map<string, number>();
  for (const fd of readdirSync(`/proc/${pid}/fdinfo`)) {
    let text = '';
    try {
      text = readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8');
    } catch {
      // Closed since.
    }
    const field = (name: string): string => new RegExp(`^${name}:\\s*(\\d+)$`, 'm').exec(text)?.[1] ?? '';
    if (networkTypes.has(Number(field('prog_type'))) && field('verified_insns') !== '')
      found.set(field('prog_id'), Number(field('verified_insns')));
  }
  return [...found.values()];
}

for (const name of ['trace_dns', 'trace_sni', 'tcpdump', 'advise_networkpolicy']) {
  void t.test(`${name} is far from the verifier's limit`, async (t) => {
    const gadget = await RunningGadget.start(name, ['--no-containers']);
    const counts = followed(gadget.pid);
    await gadget.stop();
    t.ok(
      counts.some((count) => count > 1000),
      `the gadget's own program is among ${counts.length}`,
    );
    for (const count of counts) t.ok(count < most, `${count} instructions followed`);
  });
}
