import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { RawbpfError } from '../error.ts';
import { includeFolder } from './gadget-files.ts';

const compilers = ['clang', 'clang-19', 'clang-20', 'clang-21', 'clang-18', 'clang-17', 'clang-16', 'clang-15', 'clang-14'];

/**
 * Compiles a gadget's program.bpf.c with clang ($CLANG, or the first clang found) and returns the object's bytes.
 *
 * @throws RawbpfError E_CLANG_MISSING without clang, E_CLANG_FAILED with what clang said
 */
export function compileGadget(source: string): Uint8Array {
  const given = process.env['CLANG'];
  const clang = (given === undefined ? compilers : [given]).find(
    (name) => spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0,
  );
  if (clang === undefined) {
    throw new RawbpfError({
      code: 'E_CLANG_MISSING',
      what: `${source} has to be compiled`,
      why: given === undefined ? 'no clang was found' : `$CLANG (${given}) does not run`,
      next: 'install it (apt install clang libbpf-dev), or give a compiled object',
    });
  }
  const [arch, machine] = process.arch === 'arm64' ? ['arm64', 'arm64'] : ['x86', 'amd64'];
  const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-'));
  try {
    const object = path.join(folder, 'program.bpf.o');
    const includes = [includeFolder, path.join(includeFolder, 'gadget', machine), path.dirname(source)].flatMap((dir) => ['-I', dir]);
    // <linux/*.h> of Debian and Ubuntu take <asm/types.h> from here, where clang looks for the machine's own target alone.
    const system = ['-idirafter', `/usr/include/${arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`];
    // 32-bit comparisons (Linux 5.1): without them the verifier loses bounds that the source has checked.
    const args = ['-target', 'bpf', '-mcpu=v3', '-Wall', '-g', '-O2', `-D__TARGET_ARCH_${arch}`, ...includes, ...system];
    const result = spawnSync(clang, [...args, '-c', source, '-o', object], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
    if (result.status !== 0) {
      throw new RawbpfError({ code: 'E_CLANG_FAILED', what: `${clang} could not compile ${source}`, why: `\n${result.stderr.trimEnd()}` });
    }
    return readFileSync(object);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
