import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import t from 'tap';
import { ProcWatcher } from '../../../src/enrich/containers/proc-watcher.ts';

t.test('hundreds of changes of cgroups are served by a few looks', async (t) => {
  const root = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-proc-'));
  mkdirSync(path.join(root, 'proc/1'), { recursive: true });
  mkdirSync(path.join(root, 'cgroups'));
  writeFileSync(path.join(root, 'proc/1/mountinfo'), '30 1 0:26 / /cgroups rw - cgroup2 cgroup2 rw\n');
  const watcher = new ProcWatcher(root, () => {});
  t.teardown(() => {
    watcher.close();
    rmSync(root, { recursive: true });
  });
  let looks = 0;
  watcher.scan = () => ++looks > 0;
  for (let i = 0; i < 300; i++) mkdirSync(path.join(root, 'cgroups', `c${i}`));
  // Until the last of the looks that the changes ask for.
  for (let waited = 0; waited < 5000 && looks < 5; waited += 50) await pause(50);
  t.ok(looks >= 5, 'several looks, for a process takes some time to get where it belongs');
  t.ok(looks < 50, `${looks} looks`);
});

t.test('without /proc there is nothing to see, and nothing is thrown', (t) => {
  const watcher = new ProcWatcher('/nonexistent', () => t.fail('there is no container'));
  t.equal(watcher.scan(), true);
  watcher.close();
  t.end();
});
