import { Btf } from '../../btf/btf.ts';
import { cString } from '../../bytes/text.ts';
import { bpf, bpfCall } from '../../sys/bpf.ts';
import { btfInfo } from '../../sys/bpf-attr/index.ts';
import { isErrno } from '../../sys/errno.ts';
import type { Sys } from '../../sys/sys.ts';
import type { ModuleBtf } from '../object/target.ts';
import { ids } from '../ids.ts';
import { keepAlive } from './keep-alive.ts';
import type { NoticeListener } from './notice.ts';

/** What the kernel says about one BTF object. */
export interface BtfObjectInfo {
  readonly id: number;
  /** Bytes of the blob. */
  readonly size: number;
  /** `vmlinux`, a module's name, or '' for an object's BTF. */
  readonly name: string;
  /** Whether it describes the kernel or a module, not a program. */
  readonly kernel: boolean;
}

/** Asks about a BTF descriptor; null where the kernel does not answer. Names came with Linux 5.11: before that they are ''. */
export function btfObjectInfo(sys: Sys, fd: number): BtfObjectInfo | null {
  const name = new Uint8Array(128);
  const ask = (info: Uint8Array): number => bpfCall(sys, 'BPF_OBJ_GET_INFO_BY_FD', { bpf_fd: fd, info, info_len: info.length }).result;
  let info = btfInfo.encode({ name, name_len: name.length }, (bytes) => sys.addressOf(bytes));
  let result = ask(info);
  // An older kernel takes the longer structure only where what it does not know is zero.
  if (isErrno(result, 'E2BIG')) result = ask((info = btfInfo.encode({})));
  keepAlive(name);
  if (result < 0) return null;
  const raw = btfInfo.decode(info);
  return { id: Number(raw['id']), size: Number(raw['btf_size']), name: cString(name), kernel: Number(raw['kernel_btf']) === 1 };
}

/** The blob behind a BTF descriptor; null where the kernel does not give it. */
export function btfObjectBytes(sys: Sys, fd: number, size: number): Uint8Array | null {
  const btf = new Uint8Array(size);
  const info = btfInfo.encode({ btf, btf_size: size }, (bytes) => sys.addressOf(bytes));
  const { result } = bpfCall(sys, 'BPF_OBJ_GET_INFO_BY_FD', { bpf_fd: fd, info, info_len: info.length });
  keepAlive(btf);
  return result < 0 ? null : btf.subarray(0, Number(btfInfo.decode(info)['btf_size']));
}

/**
 * The BTF of every loaded module, split over vmlinux's; descriptors stay open, for fd_array and attach targets. A module
 * that goes away meanwhile, or whose BTF is broken, is left out with a notice: it must not keep others from loading.
 */
export function readModuleBtfs(sys: Sys, vmlinux: Btf, notice: NoticeListener): ModuleBtf[] {
  const modules: ModuleBtf[] = [];
  for (const id of ids(sys, 'btf')) {
    const fd = bpf(sys, 'BPF_BTF_GET_FD_BY_ID', { btf_id: id });
    if (fd < 0) continue;
    const info = btfObjectInfo(sys, fd);
    if (info === null || !info.kernel || info.name === 'vmlinux' || info.name === '') {
      sys.call('close', fd);
      continue;
    }
    try {
      const bytes = btfObjectBytes(sys, fd, info.size);
      if (bytes === null) throw new Error('the kernel did not give its bytes');
      modules.push({ name: info.name, btf: Btf.parse(bytes, { base: vmlinux, name: info.name }), fd });
    } catch (cause) {
      sys.call('close', fd);
      notice({ code: 'N_MODULE_BTF', message: `the BTF of module ${info.name} is broken and was left out`, cause });
    }
  }
  return modules;
}
