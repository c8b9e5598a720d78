import { readdirSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { BpfCompiler, compileBpf, hasCompiler, root } from '../support/compile.ts';

const headers = readdirSync(path.join(root, 'include', 'gadget')).filter((name) => name.endsWith('.h'));

const kinds = ['', '#define GADGET_TYPE_TRACING', '#define GADGET_TYPE_NETWORKING'];
const wanted = '#define GPU_BRIDGE_WANT_ALL';

/** Where asm/types.h is. */
const systemHeaders = ['-I/usr/include/x86_64-linux-gnu', '-I/usr/include/aarch64-linux-gnu'];

/** Headers without vmlinux.h, as programs for packets use them. */
const forNetworking = [
  'types.h',
  'macros.h',
  'mntns_filter.h',
  'filter.h',
  'sockets-map.h',
  'buffer.h',
  'maps.bpf.h',
  'packetfilter.h',
  'strings.h',
  'scratch.h',
  'gpu_types.h',
];

// Slow machines take their time.
t.setTimeout(110_000);

for (const clang of ['clang-14', 'clang-19']) {
  const skip = hasCompiler(clang) ? false : `${clang} is not installed`;

  void t.test(`every header compiles by itself after vmlinux.h, and all do together: ${clang}`, { skip }, (t) => {
    const compiler = new BpfCompiler({ clang });
    t.teardown(() => compiler.close());
    for (const kind of kinds) {
      for (const header of headers) {
        const { object, stderr } = compiler.check(`${kind}\n${wanted}\n#include <gadget/${header}>\n`);
        t.ok(object, `${header} ${kind}\n${stderr}`);
      }
      const all = headers.map((header) => `#include <gadget/${header}>\n`);
      for (const includes of [all, all.toReversed()]) {
        const { object, stderr } = compiler.check(`${kind}\n${wanted}\n${includes.join('')}`);
        t.ok(object, `all headers ${kind}\n${stderr}`);
      }
    }
    t.end();
  });

  void t.test(`all headers become an object on both machines: ${clang}`, { skip }, (t) => {
    for (const arch of ['amd64', 'arm64'] as const) {
      const all = headers.map((header) => `#include <gadget/${header}>\n`).join('');
      const { object, stderr } = compileBpf(`#include <vmlinux.h>\n#define GADGET_TYPE_TRACING\n${wanted}\n${all}`, { clang, arch });
      t.ok(object, `${arch}\n${stderr}`);
    }
    t.end();
  });

  void t.test(`headers for packets compile after the kernel's own headers: ${clang}`, { skip }, (t) => {
    for (const header of forNetworking) {
      const source = `#include <linux/types.h>\n#include <linux/bpf.h>\n${kinds[2]}\n#include <gadget/${header}>\n`;
      const { object, stderr } = compileBpf(source, { clang, flags: systemHeaders });
      t.ok(object, `${header}\n${stderr}`);
    }
    t.end();
  });
}
