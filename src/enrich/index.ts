export { hostContext, noContainers, type HostContextOptions } from './context.ts';
export { foreignPidsNotice, pidsAreHosts } from './pidns.ts';
export { WallClock } from './time.ts';
export { UserNames, type UserNamesOptions } from './users.ts';
export { runGadget, type GadgetEvents, type RunGadgetOptions } from './run-gadget.ts';
export * from './kubernetes/index.ts';
export * from './runtimes/index.ts';
export * from './containers/index.ts';
