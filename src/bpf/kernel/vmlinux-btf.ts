import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { Btf } from '../../btf/btf.ts';
import { btfFromElf } from '../../btf/from-elf.ts';
import { parseElf } from '../../elf/file.ts';
import { Mapping } from '../../sys/memory.ts';
import { pageSize } from '../../sys/page-size.ts';
import type { Sys } from '../../sys/sys.ts';
import type { NoticeListener } from './notice.ts';

/** Where a kernel's BTF may lie, the first that can be read counts. */
export function vmlinuxBtfPaths(release: string): readonly string[] {
  return [
    '/sys/kernel/btf/vmlinux',
    `/boot/vmlinux-${release}`,
    `/lib/modules/${release}/vmlinux-${release}`,
    `/lib/modules/${release}/build/vmlinux`,
    `/usr/lib/modules/${release}/kernel/vmlinux`,
    `/usr/lib/debug/boot/vmlinux-${release}`,
    `/usr/lib/debug/boot/vmlinux-${release}.debug`,
    `/usr/lib/debug/lib/modules/${release}/vmlinux`,
  ];
}

/** Reads the running kernel's BTF; null where it has none anywhere. A broken file is passed over with a notice. */
export function readVmlinuxBtf(
  sys: Sys,
  release: string,
  notice: NoticeListener,
  paths: readonly string[] = vmlinuxBtfPaths(release),
): Btf | null {
  for (const path of paths) {
    let bytes: Uint8Array;
    try {
      bytes = mapFile(sys, path) ?? readFileSync(path);
    } catch {
      continue;
    }
    try {
      const btf = parseBtfFile(bytes, 'vmlinux');
      if (btf !== null) return btf;
    } catch (cause) {
      notice({ code: 'N_VMLINUX_BTF', message: `the kernel BTF in ${path} is broken and was passed over`, cause });
    }
  }
  return null;
}

/**
 * The kernel's own copy, where it lets itself be mapped (Linux 6.16, only the file in sysfs): nothing is read, copied or
 * charged to this process. The pages go when nobody holds a view of them any more.
 */
function mapFile(sys: Sys, path: string): Uint8Array | null {
  // A recording would miss what is read from memory.
  if (!path.startsWith('/sys/') || !sys.real || sys.backend.inner !== undefined) return null;
  const fd = openSync(path, 'r');
  try {
    const { size } = fstatSync(fd);
    const page = pageSize();
    const length = Math.ceil(size / page) * page;
    const mapping = Mapping.map(sys, { fd, length, writable: false, isPrivate: true, what: 'the BTF of the kernel' });
    return new Uint8Array(mapping.buffer, 0, size);
  } catch {
    return null;
  } finally {
    closeSync(fd);
  }
}

/** BTF from a file's bytes: a raw blob, or an ELF file with a .BTF section (null where it has none). */
export function parseBtfFile(bytes: Uint8Array, name: string): Btf | null {
  const isElf = bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;
  return isElf ? btfFromElf(parseElf(bytes), { name }) : Btf.parse(bytes, { name });
}
