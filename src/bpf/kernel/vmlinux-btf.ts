import { readFileSync } from 'node:fs';
import { Btf } from '../../btf/btf.ts';
import { btfFromElf } from '../../btf/from-elf.ts';
import { parseElf } from '../../elf/file.ts';
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
export function readVmlinuxBtf(release: string, notice: NoticeListener): Btf | null {
  for (const path of vmlinuxBtfPaths(release)) {
    let bytes: Uint8Array;
    try {
      bytes = readFileSync(path);
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

/** BTF from a file's bytes: a raw blob, or an ELF file with a .BTF section (null where it has none). */
export function parseBtfFile(bytes: Uint8Array, name: string): Btf | null {
  const isElf = bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;
  return isElf ? btfFromElf(parseElf(bytes), { name }) : Btf.parse(bytes, { name });
}
