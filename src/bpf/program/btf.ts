import type { Btf } from '../../btf/btf.ts';
import { sanitizeBtf } from '../../btf/sanitize.ts';
import { cString } from '../../bytes/text.ts';
import { bpf, bpfCall, bpfError } from '../../sys/bpf.ts';
import { isErrno } from '../../sys/errno.ts';
import { ObjectFd } from '../fd.ts';
import type { Kernel } from '../kernel/kernel.ts';

/** BTF of an object in the kernel. */
export class LoadedBtf extends ObjectFd<'btf'> {}

/**
 * Gives the kernel an object's BTF. A kernel that refuses it is given a version without what it does not know; one that
 * refuses that too, or has no BTF at all, gives null with a notice: programs can do without.
 */
export function loadBtf(kernel: Kernel, btf: Btf, name: string): LoadedBtf | null {
  let bytes = btf.bytes;
  let fd = upload(kernel, bytes);
  if (isErrno(fd, 'EPERM') && kernel.retryAfterMemlock()) fd = upload(kernel, bytes);
  if (isErrno(fd, 'EPERM') || isErrno(fd, 'ENOMEM') || isErrno(fd, 'EMFILE')) {
    throw bpfError(kernel.sys, 'BPF_BTF_LOAD', fd, { what: `cannot load the BTF of ${name}` });
  }
  if (fd < 0) {
    if (!kernel.has('btf')) return null;
    const reason = refusal(kernel, bytes);
    bytes = sanitizeBtf(btf, {
      func: kernel.has('btf_func'),
      globalFunc: kernel.has('btf_func_global'),
      datasec: kernel.has('btf_datasec'),
      qmarkDatasec: kernel.has('btf_qmark_datasec'),
      float: kernel.has('btf_float'),
      declTag: kernel.has('btf_decl_tag'),
      typeTag: kernel.has('btf_type_tag'),
      enum64: kernel.has('btf_enum64'),
      layout: kernel.has('btf_layout'),
    });
    fd = upload(kernel, bytes);
    if (fd < 0) {
      kernel.notice({ code: 'N_BTF_REFUSED', message: `the kernel refused the BTF of ${name}: ${reason}; going on without it` });
      return null;
    }
  }
  kernel.trace({ step: 'btf', name, bytes: bytes.length, fd });
  return new LoadedBtf(kernel.sys, fd, `BTF of ${name}`);
}

function upload(kernel: Kernel, bytes: Uint8Array): number {
  return bpf(kernel.sys, 'BPF_BTF_LOAD', { btf: bytes, btf_size: bytes.length });
}

/** The last lines of the kernel's own explanation. */
function refusal(kernel: Kernel, bytes: Uint8Array): string {
  for (let size = 64 << 10; size <= 16 << 20; size *= 4) {
    const log = new Uint8Array(size);
    const { result } = bpfCall(kernel.sys, 'BPF_BTF_LOAD', {
      btf: bytes,
      btf_size: bytes.length,
      btf_log_level: 1,
      btf_log_buf: log,
      btf_log_size: size,
    });
    if (result >= 0) {
      kernel.sys.call('close', result);
      return 'it took it the second time';
    }
    if (!isErrno(result, 'ENOSPC')) return cString(log).trimEnd().split('\n').slice(-2).join('; ');
  }
  return 'its log is too long';
}
