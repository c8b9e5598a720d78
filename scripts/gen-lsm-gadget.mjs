// Writes what trace_lsm has one of for each hook: gadgets/trace_lsm/hooks.h and gadget.yaml.
//   node scripts/gen-lsm-gadget.mjs HOOK...       for these hooks
//   node scripts/gen-lsm-gadget.mjs               for those that are in hooks.h already
// The hooks are those of which a kernel has a function bpf_lsm_HOOK:
//   bpftool btf dump file vmlinux.btf | grep -oE "FUNC 'bpf_lsm_[a-z0-9_]+'"
// of Debian's kernels 5.10.0-46, 6.1, 6.12 and 7.3, without the functions of that prefix that are no hooks (kernel/bpf/bpf_lsm.c).
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = path.join(path.dirname(path.dirname(fileURLToPath(import.meta.url))), 'gadgets', 'trace_lsm');
const given = process.argv.slice(2);
const header = path.join(folder, 'hooks.h');
const hooks = given.length > 0 ? given : [...readFileSync(header, 'utf8').matchAll(/^\tF\((\w+)\)/gm)].map(([, name]) => name);
hooks.sort();

writeFileSync(
  header,
  `// SPDX-License-Identifier: GPL-2.0-only
//
// Written by scripts/gen-lsm-gadget.mjs: hooks for security modules, of Linux 5.10 to 7.3. No kernel has all of them.
#define FOR_EACH_HOOK(F) \\
${hooks.map((hook) => `\tF(${hook})`).join(' \\\n')}
`,
);

writeFileSync(
  path.join(folder, 'gadget.yaml'),
  `# Written by scripts/gen-lsm-gadget.mjs.
name: trace_lsm
description: Shows each time that the kernel asks its security modules, by the hook
datasources:
  lsm:
    fields:
      timestamp:
        annotations:
          columns.hidden: true
      tracepoint:
        annotations:
          description: The hook
          columns.width: 24
params:
  ebpf:
    trace_all:
      key: trace-all
      defaultValue: "false"
      description: Show every hook
${hooks.map((hook) => `    trace_${hook}:\n      key: trace-${hook}\n      defaultValue: "false"\n      description: Show ${hook}\n`).join('')}programs:
${hooks.map((hook) => `  lsm_${hook}:\n    alternativeOf: ${hook}?\n    enabledBy: trace_all, trace_${hook}\n`).join('')}`,
);
