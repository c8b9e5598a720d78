export { NetworkPart, type NetworkPartOptions } from './part.ts';
