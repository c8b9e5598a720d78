import { inInitialNamespace } from '../sys/namespaces.ts';

/**
 * Whether process ids in events mean the same as those in /proc: events carry the host's, so in another pid namespace a
 * /proc entry of the same number belongs to some other process and must not be read.
 */
export function pidsAreHosts(): boolean {
  return inInitialNamespace('pid') === true;
}

/** What to tell the user where {@link pidsAreHosts} is false. */
export const foreignPidsNotice =
  "this process is not in the host's pid namespace: process ids in events are the host's, and nothing is looked up in /proc by them";
