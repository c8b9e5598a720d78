export { findClusterAccess, inClusterAccess, readKubeconfig, type ClusterAccess, type FindAccessOptions } from './access.ts';
export { Cluster } from './cluster.ts';
export { KubernetesApiError } from './error.ts';
export type { ListWatchOptions } from './list-watch.ts';
export { ClusterNames } from './names.ts';
export { EndpointPart } from './part.ts';
export type { EndpointKind, NamedObject, PodObject } from './objects.ts';
