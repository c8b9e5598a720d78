export { dumpC, type DumpCOptions } from './c/dump.ts';
