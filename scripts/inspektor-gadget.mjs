// Compiles Inspektor Gadget's own gadgets, unmodified, against include/ as `rawbpf run FOLDER` would, and says of each whether
// it compiles and whether the running kernel takes it. What it makes is for test/oracle/inspektor-gadget.soak.test.ts.
//
//   node scripts/inspektor-gadget.mjs SOURCES OUT [CLANG-FLAG...]
//
// SOURCES is the folder `gadgets` of a checkout. Nothing of it may be committed here: it has licences of its own.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const [sources, out, ...flags] = process.argv.slice(2);
if (sources === undefined || out === undefined) {
  console.error('usage: node scripts/inspektor-gadget.mjs SOURCES OUT [CLANG-FLAG...]');
  process.exit(2);
}

// Takes two mutexes in either order: what the gadget deadlock looks for.
const mutexes = `
#include <pthread.h>
#include <stdio.h>
static pthread_mutex_t a = PTHREAD_MUTEX_INITIALIZER, b = PTHREAD_MUTEX_INITIALIZER;
static void both(pthread_mutex_t *first, pthread_mutex_t *second)
{
	pthread_mutex_lock(first);
	pthread_mutex_lock(second);
	pthread_mutex_unlock(second);
	pthread_mutex_unlock(first);
}
int main(void)
{
	printf("mutexes %lu %lu\\n", (unsigned long)&a, (unsigned long)&b);
	both(&a, &b);
	both(&b, &a);
	return 0;
}
`;

// Takes memory by functions that are named as NVIDIA's are, and gives one piece back: what the gadgets of CUDA look at.
const cuda = ['cuMemAlloc_v2', 'cuMemAllocHost_v2', 'cuMemAllocManaged']
  .map((name) => `int ${name}(void **to, unsigned long size) { *to = malloc(size); return 0; }`)
  .join('\n');
const cudaLibrary = `
#include <stdlib.h>
${cuda}
int cuMemAllocPitch_v2(void **to, unsigned long *pitch, unsigned long width, unsigned long height) { *pitch = width; *to = malloc(width * height); return 0; }
int cuMemFree_v2(void *memory) { free(memory); return 0; }
`;
const cudaProgram = `
#include <stdio.h>
#include <unistd.h>
int cuMemAlloc_v2(void **, unsigned long), cuMemAllocHost_v2(void **, unsigned long), cuMemAllocManaged(void **, unsigned long);
int cuMemAllocPitch_v2(void **, unsigned long *, unsigned long, unsigned long), cuMemFree_v2(void *);
int main(void)
{
	void *memory[5];
	unsigned long pitch;
	for (int i = 0; i < 2; i++)
		cuMemAlloc_v2(&memory[i], 1000);
	cuMemAllocHost_v2(&memory[2], 300);
	cuMemAllocManaged(&memory[3], 70);
	cuMemAllocPitch_v2(&memory[4], &pitch, 17, 3);
	cuMemFree_v2(memory[0]);
	printf("device %d %d %d %d\\nfreed %d\\n", 2000, 300, 70, 51, 1000);
	fflush(stdout);
	// Its maps are read as long as it is there.
	sleep(3);
	return 0;
}
`;

const tally = { gadgets: 0, compiled: 0, loaded: 0 };
for (const name of readdirSync(sources).toSorted()) {
  const source = path.join(sources, name, 'program.bpf.c');
  if (!existsSync(source)) continue;
  tally.gadgets++;
  const folder = path.join(out, name);
  const object = path.join(folder, 'program.bpf.o');
  mkdirSync(folder, { recursive: true });
  const metadata = path.join(sources, name, 'gadget.yaml');
  if (existsSync(metadata)) copyFileSync(metadata, path.join(folder, 'gadget.yaml'));
  const [target, machine] = process.arch === 'arm64' ? ['arm64', 'arm64'] : ['x86', 'amd64'];
  const includes = [`-I${root}/include`, `-I${root}/include/gadget/${machine}`, `-I${path.dirname(source)}`];
  // Debian's <asm/types.h>: clang looks there for the machine's own target alone.
  includes.push('-idirafter', `/usr/include/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`);
  const options = ['-target', 'bpf', '-Wall', '-g', '-O2', `-D__TARGET_ARCH_${target}`, ...(flags.length > 0 ? flags : ['-mcpu=v3'])];
  const compiled = spawnSync('clang-19', [...options, ...includes, '-c', source, '-o', object], { encoding: 'utf8' });
  if (compiled.status !== 0) {
    console.log(`${name}\tdoes not compile\n${compiled.stderr}`);
    continue;
  }
  tally.compiled++;
  spawnSync('llvm-strip-19', ['-g', object]);
  const check = spawnSync(process.execPath, [path.join(root, 'build/src/cli/rawbpf.js'), 'check', object], { encoding: 'utf8' });
  if (check.status === 0) tally.loaded++;
  const [, why = ''] = check.stdout.split('\n');
  console.log(
    `${name}\tcompiles${compiled.stderr === '' ? '' : ' with warnings'}\t${check.status === 0 ? 'loads' : `does not load: ${why.trim().slice(0, 200)}`}`,
  );
}
spawnSync('cc', ['-x', 'c', '-pthread', '-o', path.join(out, 'mutexes'), '-'], { input: mutexes });
const libraries = path.join(out, 'cuda');
mkdirSync(libraries, { recursive: true });
const library = path.join(libraries, 'libcuda.so.1');
spawnSync('cc', ['-x', 'c', '-shared', '-fPIC', '-o', library, '-'], { input: cudaLibrary });
spawnSync('cc', ['-x', 'c', '-o', path.join(libraries, 'allocate'), '-', '-x', 'none', library, '-Wl,-rpath,$ORIGIN'], {
  input: cudaProgram,
});
writeFileSync(path.join(out, 'README'), 'Made by scripts/inspektor-gadget.mjs from sources that have licences of their own.\n');
console.log(`${tally.gadgets} gadgets: ${tally.compiled} compile, ${tally.loaded} load on this kernel`);
