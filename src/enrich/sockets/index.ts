export { SocketEnricher, type SocketCounters, type SocketEnricherOptions } from './enricher.ts';
export { socketLayout, type SocketFields, type SocketLayout } from './layout.ts';
export { SocketPart } from './part.ts';
