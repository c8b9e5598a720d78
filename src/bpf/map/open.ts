import { bpf, bpfError } from '../../sys/bpf.ts';
import { isErrno } from '../../sys/errno.ts';
import { UsageError } from '../../error.ts';
import { Btf } from '../../btf/btf.ts';
import { ids } from '../ids.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { btfObjectBytes, btfObjectInfo } from '../kernel/module-btf.ts';
import { nearPath } from '../near-path.ts';
import { openPin } from '../pin.ts';
import { mapInfo, type MapInfo } from './info.ts';
import { BpfMap, type MapTypes } from './map.ts';

/** Opens a map by its id; null where there is none (any more). Its types come from the kernel, where it has them. */
export function openMapById(kernel: Kernel, id: number): BpfMap | null {
  const fd = bpf(kernel.sys, 'BPF_MAP_GET_FD_BY_ID', { map_id: id });
  if (isErrno(fd, 'ENOENT')) return null;
  if (fd < 0) throw bpfError(kernel.sys, 'BPF_MAP_GET_FD_BY_ID', fd, { where: { id } });
  return openMapByFd(kernel, fd);
}

/** Opens a map by its pin; throws E_NOT_PINNED where nothing is there. */
export function openPinnedMap(kernel: Kernel, path: string): BpfMap {
  const fd = openPin(kernel, path);
  if (fd === null) throw new UsageError({ code: 'E_NOT_PINNED', what: 'nothing is pinned here', where: { path }, next: nearPath(path) });
  return openMapByFd(kernel, fd);
}

/** Takes over a descriptor of a map; it is closed where it is none. */
export function openMapByFd(kernel: Kernel, fd: number): BpfMap {
  let info: MapInfo;
  try {
    info = mapInfo(kernel.sys, fd);
  } catch (error) {
    kernel.sys.call('close', fd);
    throw error;
  }
  return new BpfMap(kernel, fd, info, mapTypes(kernel, info));
}

/** What the kernel tells about every map. */
export function* listMaps(kernel: Kernel): Generator<MapInfo> {
  for (const id of ids(kernel.sys, 'map')) {
    const map = openMapById(kernel, id);
    if (map === null) continue;
    try {
      yield map.info();
    } finally {
      map.close();
    }
  }
}

function mapTypes(kernel: Kernel, info: MapInfo): MapTypes | null {
  if (info.btfId === 0) return null;
  const btf = openBtf(kernel, info.btfId);
  return btf === null ? null : { btf, keyTypeId: info.keyTypeId, valueTypeId: info.valueTypeId };
}

/** Reads a BTF object of the kernel by its id; null where it cannot be had. */
export function openBtf(kernel: Kernel, id: number): Btf | null {
  const fd = bpf(kernel.sys, 'BPF_BTF_GET_FD_BY_ID', { btf_id: id });
  if (fd < 0) return null;
  try {
    const info = btfObjectInfo(kernel.sys, fd);
    const bytes = info === null ? null : btfObjectBytes(kernel.sys, fd, info.size);
    return bytes === null ? null : Btf.parse(bytes, { name: `id ${id}` });
  } catch {
    // A map can be used without its types.
    return null;
  } finally {
    kernel.sys.call('close', fd);
  }
}
