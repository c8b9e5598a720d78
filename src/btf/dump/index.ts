export { dumpC, type DumpCOptions } from './c/dump.ts';
export { dumpJson } from './json.ts';
export { dumpRaw, type DumpTypesOptions } from './raw.ts';
