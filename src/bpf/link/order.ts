import type { StructValues } from '../../bytes/struct.ts';
import { UsageError } from '../../error.ts';
import { BpfProgram } from '../program/program.ts';
import { BPF_F } from '../uapi/flags.gen.ts';
import { KernelLink } from './link.ts';

/** Next to whom a program is put: a link at the same place, a program there (not in cgroups), or all of them. */
export type Neighbour = BpfProgram | KernelLink | 'all';

/** Where among the programs of one place a new one runs: tcx (Linux 6.6), netkit (6.7), cgroups (6.16). */
export interface OrderOptions {
  /** Runs before this one; `all`: before all others. */
  readonly before?: Neighbour;
  /** Runs after this one; `all`: after all others, as it is unless said. */
  readonly after?: Neighbour;
  /** Attaches only where nothing has changed since a query told this revision; ESTALE else. */
  readonly expectedRevision?: bigint;
}

/** The fields of BPF_LINK_CREATE that say where; `arm` is that of the union. */
export function orderAttr(arm: 'tcx' | 'netkit' | 'cgroup', options: OrderOptions): StructValues {
  const { before, after, expectedRevision } = options;
  if (before !== undefined && after !== undefined && !(before === 'all' && after === 'all')) {
    throw new UsageError({ code: 'E_ORDER', what: 'a program cannot be put both before and after others', next: 'give one of them' });
  }
  const neighbour = before ?? after;
  if (arm === 'cgroup' && neighbour instanceof BpfProgram) {
    throw new UsageError({
      code: 'E_ORDER',
      what: 'a link to a cgroup can be put next to another link only',
      where: { program: neighbour.name },
      next: 'give the link that the program is attached by',
    });
  }
  const values: Record<string, number | bigint> = {};
  // Both: before all and after all, so alone.
  const flags = (before === undefined ? 0 : BPF_F.BPF_F_BEFORE) | (after === undefined ? 0 : BPF_F.BPF_F_AFTER);
  if (neighbour !== undefined) values['flags'] = flags;
  if (neighbour !== undefined && neighbour !== 'all') {
    values[`${arm}.relative_fd`] = neighbour.fd;
    if (neighbour instanceof KernelLink) values['flags'] = flags | BPF_F.BPF_F_LINK;
  }
  if (expectedRevision !== undefined) values[`${arm}.expected_revision`] = expectedRevision;
  return values;
}
