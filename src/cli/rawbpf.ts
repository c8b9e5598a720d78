#!/usr/bin/env node
import module from 'node:module';

// Compiling the modules is most of the time until a program is attached; Node 22.8 and newer can keep the result.
(module as { enableCompileCache?: () => unknown }).enableCompileCache?.();
void import('./main.ts').then(({ main }) => main(process.argv.slice(2)));
