import { statfsSync } from 'node:fs';
import type { LoadOptions } from '../bpf/collection/options.ts';
import type { ObjectSpec } from '../bpf/object/spec.ts';

const pinFolder = '/sys/fs/bpf';
/** include/uapi/linux/magic.h */
const BPF_FS_MAGIC = 0xcafe4a11;

/**
 * Where maps with LIBBPF_PIN_BY_NAME are shared with other programs: in the BPF file system or, where none is mounted, nowhere, with
 * a notice. A gadget then has such maps to itself, empty, as it has where the other program does not run.
 */
export function pinsOf(spec: ObjectSpec, notice: (message: string) => void): Pick<LoadOptions, 'pinRoot'> {
  const pinned = spec.maps.filter(({ pinning }) => pinning !== 0);
  if (pinned.length === 0 || isBpfFs()) return {};
  const names = pinned.map(({ name }) => name).join(', ');
  notice(`${names}: not shared with other programs, for no BPF file system is mounted on ${pinFolder} (mount -t bpf bpf ${pinFolder})`);
  return { pinRoot: null };
}

function isBpfFs(): boolean {
  try {
    return statfsSync(pinFolder).type === BPF_FS_MAGIC;
  } catch {
    return false;
  }
}
