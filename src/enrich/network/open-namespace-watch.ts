import type { Kernel } from '../../bpf/kernel/kernel.ts';
import { RawbpfError } from '../../error.ts';
import type { NamespaceListener, NamespaceWatcher } from './namespace-watcher.ts';
import { ProcNamespaceWatch } from './proc-namespace-watch.ts';
import { NamespaceWatch } from './watch.ts';

/** Programs in the kernel, or looks into /proc where they cannot be loaded or attached. */
export function openNamespaceWatch(kernel: Kernel, listener: NamespaceListener, notice: (message: string) => void): NamespaceWatcher {
  try {
    return new NamespaceWatch(kernel, listener);
  } catch (error) {
    if (!(error instanceof RawbpfError)) throw error;
    notice(`network namespaces are looked for in /proc, and the first packets of new ones are missed: ${error.message}`);
    return new ProcNamespaceWatch(listener);
  }
}
