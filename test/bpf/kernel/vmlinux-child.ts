// Tells what it finds of the kernel's BTF: run where the file in sysfs is hidden.
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';

const notices: string[] = [];
const kernel = new Kernel({ onNotice: ({ code }) => void notices.push(code) });
const btf = kernel.vmlinuxBtf();
console.log(JSON.stringify({ types: btf?.typeCount ?? null, notices }));
kernel.close();
