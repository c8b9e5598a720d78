#!/usr/bin/env node
import module from 'node:module';
import os from 'node:os';
import path from 'node:path';

// Compiling the modules is most of the time until a program is attached; Node 22.8 and newer can keep the result. Not where Node
// would by itself, in a folder that everybody can write to: what is kept there would be run as root.
const cache =
  process.env['NODE_COMPILE_CACHE'] ?? path.join(process.env['XDG_CACHE_HOME'] ?? path.join(os.homedir(), '.cache'), 'rawbpf', 'compiled');
(module as { enableCompileCache?: (directory: string) => unknown }).enableCompileCache?.(cache);
void import('./main.ts').then(({ main }) => main(process.argv.slice(2)));
