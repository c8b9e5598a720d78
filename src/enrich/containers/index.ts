export { ContainerCollection, type ContainerCollectionOptions } from './collection.ts';
export {
  type Container,
  type ContainerCgroup,
  type ContainerChange,
  type ContainerNetns,
  type ContainerSet,
  type ContainerState,
  type InnerContainer,
} from './container.ts';
export { ContainerFilter, type ContainerSelection } from './filter.ts';
export { type NameEvent, type NameQuery, type NameSource, type OwnerReference, type PodNames, type RuntimeNames } from './names.ts';
export { ContainerPart, type ContainerPartOptions, type ContainerScope } from './part.ts';
