import { UsageError } from '../../error.ts';
import { bpf, bpfError } from '../../sys/bpf.ts';
import { isErrno } from '../../sys/errno.ts';
import { ids } from '../ids.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { nearPath } from '../near-path.ts';
import { openPin } from '../pin.ts';
import { linkInfo, type LinkInfo } from './info.ts';
import { type BpfLink, KernelLink } from './link.ts';
import { linkTypes } from './link-types.ts';

/** Opens a link by its id; null where there is none (any more). */
export function openLinkById(kernel: Kernel, id: number): BpfLink | null {
  const fd = bpf(kernel.sys, 'BPF_LINK_GET_FD_BY_ID', { link_id: id });
  if (isErrno(fd, 'ENOENT')) return null;
  if (fd < 0) throw bpfError(kernel.sys, 'BPF_LINK_GET_FD_BY_ID', fd, { where: { id } });
  return fromFd(kernel, fd);
}

/** Opens a link by its pin; throws E_NOT_PINNED where nothing is there. */
export function openPinnedLink(kernel: Kernel, path: string): BpfLink {
  const fd = openPin(kernel, path);
  if (fd === null) throw new UsageError({ code: 'E_NOT_PINNED', what: 'nothing is pinned here', where: { path }, next: nearPath(path) });
  return fromFd(kernel, fd);
}

/** What the kernel tells about every link. */
export function* listLinks(kernel: Kernel): Generator<LinkInfo> {
  for (const id of ids(kernel.sys, 'link')) {
    const link = openLinkById(kernel, id);
    if (link === null) continue;
    try {
      const info = link.info();
      if (info !== null) yield info;
    } finally {
      link.close();
    }
  }
}

function fromFd(kernel: Kernel, fd: number): BpfLink {
  let info: LinkInfo;
  try {
    info = linkInfo(kernel.sys, fd);
  } catch (error) {
    kernel.sys.call('close', fd);
    throw error;
  }
  return new KernelLink(kernel, fd, null, { kind: linkTypes[info.type]?.kind ?? 'unknown', target: targetOf(info) });
}

function targetOf(info: LinkInfo): string {
  const { details } = info;
  for (const field of ['tp_name', 'target_name', 'file_name', 'func_name', 'path']) {
    const text = details[field];
    if (typeof text === 'string' && text !== '') return text;
  }
  return `link ${info.id}`;
}
