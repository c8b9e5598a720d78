import type { RunPart } from '../gadget/part.ts';
import { NetworkPart, type NetworkPartOptions } from './network/index.ts';
import { SocketPart } from './sockets/index.ts';

/** What a run is joined with that looks at sockets and packets; a gadget that does neither costs nothing. */
export function machineParts(options: NetworkPartOptions = {}): RunPart[] {
  return [new SocketPart(options.notice === undefined ? {} : { notice: options.notice }), new NetworkPart(options)];
}
