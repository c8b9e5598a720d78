import { existsSync, readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { release } from 'node:os';

/** The running kernel's build configuration, read without the library's help. */
export function kernelConfigText(): string {
  return existsSync('/proc/config.gz')
    ? gunzipSync(readFileSync('/proc/config.gz')).toString()
    : readFileSync(`/boot/config-${release()}`, 'utf8');
}
