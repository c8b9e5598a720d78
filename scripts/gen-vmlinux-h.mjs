// Makes include/gadget/<arch>/vmlinux.h from the BTF of a Debian kernel image, with this project's own dump.
//   node scripts/gen-vmlinux-h.mjs amd64|arm64 'PACKAGE VERSION' IMAGE
// IMAGE is the package's /boot/vmlinuz-* (or any file that has raw BTF in it); needs zstd or xz for a compressed one.
// Build first (npm run build). include/gadget/README.md has the exact commands.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Btf, dumpC } from '../build/src/btf/index.js';

const [arch, source, file] = process.argv.slice(2);
if (!['amd64', 'arm64'].includes(arch) || source === undefined || file === undefined) {
  console.error("usage: node scripts/gen-vmlinux-h.mjs amd64|arm64 'PACKAGE VERSION' IMAGE");
  process.exit(2);
}
const comment = [
  `Types of the kernel in Debian's package ${source}, written from its BTF by scripts/gen-vmlinux-h.mjs.`,
  'Do not edit: README.md in the folder above says how to make it anew.',
].join('\n');
const folder = fileURLToPath(new URL(`../include/gadget/${arch}`, import.meta.url));
mkdirSync(folder, { recursive: true });
const btf = Btf.parse(findBtf(unpack(readFileSync(file))), { name: file });
const text = [...dumpC(btf, { comment, kfuncs: false })].join('');
writeFileSync(`${folder}/vmlinux.h`, text);
console.error(`${folder}/vmlinux.h: ${text.length} bytes`);

/** The kernel inside an x86 bzImage (Documentation/arch/x86/boot.rst: payload_offset, payload_length); other files as they are. */
function unpack(image) {
  if (image.toString('latin1', 0x202, 0x206) !== 'HdrS') return image;
  const start = (image[0x1f1] + 1) * 512 + image.readUInt32LE(0x248);
  const payload = image.subarray(start, start + image.readUInt32LE(0x24c));
  const tool = payload.readUInt32LE(0) === 0xfd2fb528 ? 'zstd' : payload.toString('latin1', 1, 5) === '7zXZ' ? 'xz' : 'gzip';
  // The four bytes after the compressed data are the kernel's size: the tools complain of them and give all before.
  const { stdout } = spawnSync(tool, ['-dc'], { input: payload.subarray(0, -4), maxBuffer: 1 << 30 });
  return stdout;
}

/** The largest BTF blob in a file: kernels hold it whole, between __start_BTF and __stop_BTF. */
function findBtf(bytes) {
  const magic = Buffer.from('9feb010018000000', 'hex');
  let best = Buffer.alloc(0);
  for (let at = bytes.indexOf(magic); at >= 0; at = bytes.indexOf(magic, at + 4)) {
    const length = 24 + bytes.readUInt32LE(at + 16) + bytes.readUInt32LE(at + 20);
    if (length > best.length && at + length <= bytes.length) best = bytes.subarray(at, at + length);
  }
  return best;
}
