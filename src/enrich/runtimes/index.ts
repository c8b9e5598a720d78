export { containerOfCgroup, type CgroupContainer } from './cgroup-path.ts';
export { ContainerdSource } from './containerd.ts';
export { CriSource } from './cri.ts';
export { DockerSource } from './docker.ts';
export { joinSources } from './join.ts';
export { machineNames, usualSockets, type MachineNamesOptions, type RuntimeSockets } from './machine.ts';
export { PodmanFiles } from './podman-files.ts';
export { PodmanSource } from './podman.ts';
export type { SourceOptions } from './source.ts';
