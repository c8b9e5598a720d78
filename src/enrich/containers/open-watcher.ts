import type { Kernel } from '../../bpf/kernel/kernel.ts';
import { RawbpfError } from '../../error.ts';
import { ProcWatcher } from './proc-watcher.ts';
import type { TaskEvent } from './task-event.ts';
import { Tracker } from './tracker.ts';
import type { Watcher } from './watcher.ts';

/** What {@link openWatcher} needs to know. */
export interface WatcherChoice {
  readonly kernel: Kernel;
  readonly hostRoot: string;
  /** As in ContainerCollectionOptions. */
  readonly polling: 'never' | 'fallback' | 'always';
  readonly onEvent: (event: TaskEvent) => void;
  readonly onBatchEnd: () => void;
  readonly notice: (message: string) => void;
  readonly bufferBytes?: number | undefined;
}

/** Programs in the kernel, or looks into /proc where they cannot be loaded or nobody wants them. */
export function openWatcher({ kernel, hostRoot, polling, onEvent, onBatchEnd, notice, bufferBytes }: WatcherChoice): Watcher {
  if (polling === 'always') return new ProcWatcher(hostRoot, onEvent);
  try {
    return new Tracker(kernel, onEvent, onBatchEnd, bufferBytes);
  } catch (error) {
    if (polling !== 'fallback' || !(error instanceof RawbpfError)) throw error;
    notice(`containers are looked for in /proc, and those that are gone at once are missed: ${error.message}`);
    return new ProcWatcher(hostRoot, onEvent);
  }
}
