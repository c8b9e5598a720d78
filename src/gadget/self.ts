import { namespaceInode } from '../sys/namespaces.ts';
import type { Gadget } from './gadget.ts';

/** What gadget/self.h asks for: this process, as it knows itself, so that a gadget can leave out what it causes itself. */
export function selfVariables(gadget: Gadget): Record<string, unknown> {
  if (!gadget.spec.variables.some(({ name }) => name === 'gadget_self_pid')) return {};
  return { gadget_self_pid: process.pid, gadget_self_pidns: namespaceInode('self', 'pid') ?? 0 };
}
