import type { ContainerFields } from '../../gadget/context.ts';
import { commonFields } from './fields.ts';
import type { Container, ContainerNetns } from './container.ts';
import type { ContainerRecord } from './record.ts';

/** Containers by network namespace, those lately gone too. */
export class NetnsIndex {
  readonly #byInode = new Map<number, ContainerRecord[]>();
  readonly #placed = new Map<ContainerRecord, number>();
  /** Of namespaces that containers are in: events may name any number. */
  readonly #fields = new Map<number, { readonly version: number; readonly fields: ContainerFields | null }>();
  readonly #lingerNs: number;

  /** `lingerNs`: for how long events of a container that is gone still come. */
  constructor(lingerNs: number) {
    this.#lingerNs = lingerNs;
  }

  /** Files a container under its namespace, which is not final before its program runs. */
  place(record: ContainerRecord): void {
    const { netns } = record;
    const before = this.#placed.get(record);
    if (before === netns) return;
    if (before !== undefined) this.remove(record);
    this.#placed.set(record, netns);
    const all = this.#byInode.get(netns);
    if (all === undefined) this.#byInode.set(netns, [record]);
    else all.push(record);
    this.#fields.delete(netns);
  }

  /** Takes a container out, wherever it was filed: its own number may be another one by now. */
  remove(record: ContainerRecord): void {
    const netns = this.#placed.get(record);
    if (netns === undefined) return;
    this.#placed.delete(record);
    const left = (this.#byInode.get(netns) ?? []).filter((other) => other !== record);
    if (left.length > 0) this.#byInode.set(netns, left);
    else this.#byInode.delete(netns);
    this.#fields.delete(netns);
  }

  /** Entries that are kept, for tests of leaks. */
  get size(): number {
    return this.#byInode.size + this.#placed.size + this.#fields.size;
  }

  /** Containers there at a time in nanoseconds since boot; 0 for now. */
  at(inode: number, bootNs: number): readonly ContainerRecord[] {
    const all = (this.#byInode.get(inode) ?? []).filter(({ sandbox, hostNetwork }) => !sandbox && !hostNetwork);
    const there = all.filter(({ goneBootNs, sinceBootNs }) => goneBootNs === null && (bootNs === 0 || sinceBootNs <= bootNs));
    if (there.length > 0) return there;
    // The number may belong to another namespace by now; events of the last moments still come.
    const late = all.filter(
      ({ goneBootNs, sinceBootNs }) =>
        goneBootNs !== null && (bootNs === 0 || (sinceBootNs <= bootNs && bootNs < goneBootNs + this.#lingerNs)),
    );
    const newest = Math.max(0, ...late.map(({ sinceBootNs }) => sinceBootNs));
    return late.filter(({ goneBootNs }) => (goneBootNs ?? 0) >= newest);
  }

  /** What the containers there have in common. `version` grows whenever the answer may be another one. */
  fields(inode: number, bootNs: number, version: number): ContainerFields | null {
    if (!this.#byInode.has(inode)) return null;
    const kept = bootNs === 0 ? this.#fields.get(inode) : undefined;
    if (kept !== undefined && kept.version === version) return kept.fields;
    const fields = commonFields(this.at(inode, bootNs).map((record) => record.fieldsFor('')));
    if (bootNs === 0) this.#fields.set(inode, { version, fields });
    return fields;
  }
}

/** Containers by the network namespaces that are theirs, with a process in each where there is one. */
export function groupByNetns(all: readonly Container[]): readonly ContainerNetns[] {
  const groups = new Map<number, { pid: number; containers: Container[] }>();
  for (const container of all) {
    if (container.hostNetwork || container.netns === 0) continue;
    const group = groups.get(container.netns) ?? { pid: container.pid, containers: [] };
    group.containers.push(container);
    if (group.pid === 0) group.pid = container.pid;
    groups.set(container.netns, group);
  }
  return [...groups].map(([netns, group]) => ({ netns, ...group }));
}
