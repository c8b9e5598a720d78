import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { UnsupportedError, UsageError } from '../../error.ts';

/** The kernel's build configuration, searched option by option. */
export class KernelConfig {
  readonly #text: string;
  /** Where it was read from. */
  readonly source: string;

  constructor(text: string, source: string) {
    // Options are found at line starts, the first line's too.
    this.#text = `\n${text}`;
    this.source = source;
  }

  /** The text after `CONFIG_X=`, quotes included (`y`, `m`, `"str"`, `0x10`); null where the option is not set. */
  get(name: string): string | null {
    if (!/^CONFIG_\w+$/.test(name)) {
      throw new UsageError({ code: 'E_KCONFIG_NAME', what: 'not the name of a kernel config option', where: { name } });
    }
    const at = this.#text.indexOf(`\n${name}=`);
    if (at < 0) return null;
    const start = at + name.length + 2;
    const end = this.#text.indexOf('\n', start);
    return this.#text.slice(start, end < 0 ? undefined : end).trim();
  }

  /** Every option's name, for suggestions. */
  names(): string[] {
    return Array.from(this.#text.matchAll(/\n(?:# )?(CONFIG_\w+)[= ]/g), (match) => match[1] as string);
  }
}

/** Reads the running kernel's configuration: /boot/config-RELEASE and its kin, then /proc/config.gz. */
export function readKernelConfig(release: string): KernelConfig {
  const paths = [`/boot/config-${release}`, `/lib/modules/${release}/config`, `/usr/lib/modules/${release}/config`, '/proc/config.gz'];
  for (const path of paths) {
    try {
      const bytes = readFileSync(path);
      return new KernelConfig((path.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('latin1'), path);
    } catch {
      // The next place may have it.
    }
  }
  throw new UnsupportedError({
    code: 'E_KCONFIG_MISSING',
    what: 'the kernel configuration cannot be read',
    why: `none of ${paths.join(', ')} is there`,
    next: 'build the kernel with CONFIG_IKCONFIG_PROC or install its configuration file',
  });
}
