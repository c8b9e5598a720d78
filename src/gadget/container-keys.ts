import type { Field } from './field.ts';

/** Where an event says in which namespaces it happened: offsets from its start, -1 for what it does not say. */
export interface ContainerKeys {
  readonly mntns: number;
  readonly netns: number;
  /** A thread of the process, or the process. */
  readonly tid: number;
  /** Nanoseconds since boot. */
  readonly time: number;
}

/** Finds the fields by their types: `gadget_mntns_id`, `gadget_netns_id`, `gadget_tid` or `gadget_pid`, `gadget_timestamp`. */
export function containerKeys(fields: readonly Field[]): ContainerKeys {
  const offsetOf = (type: string, size: number): number => {
    const field = fields.find((candidate) => candidate.tags.has(`type:${type}`) && candidate.size === size && candidate.typeId !== 0);
    return field?.offset ?? -1;
  };
  const tid = offsetOf('gadget_tid', 4);
  return {
    mntns: offsetOf('gadget_mntns_id', 8),
    netns: offsetOf('gadget_netns_id', 4),
    tid: tid >= 0 ? tid : offsetOf('gadget_pid', 4),
    time: offsetOf('gadget_timestamp', 8),
  };
}

/** Whether events tell their container at all. */
export function tellContainers(keys: ContainerKeys): boolean {
  return keys.mntns >= 0 || keys.netns >= 0;
}

/** The mount namespace's inode; 0 where there is none. */
export function mntnsOf({ mntns }: ContainerKeys, view: DataView, at: number): number {
  return mntns < 0 ? 0 : view.getUint32(at + mntns, true);
}

export function netnsOf({ netns }: ContainerKeys, view: DataView, at: number): number {
  return netns < 0 ? 0 : view.getUint32(at + netns, true);
}

export function tidOf({ tid }: ContainerKeys, view: DataView, at: number): number {
  return tid < 0 ? 0 : view.getUint32(at + tid, true);
}

/** Nanoseconds since boot, as a number: exact to 2 ns for the first 208 days; 0 where the event does not say. */
export function bootNsOf({ time }: ContainerKeys, view: DataView, at: number): number {
  return time < 0 ? 0 : view.getUint32(at + time + 4, true) * 0x100000000 + view.getUint32(at + time, true);
}
