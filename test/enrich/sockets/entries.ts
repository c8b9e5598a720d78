/** The key of a socket of IPv4 in `gadget_sockets`. */
export function keyOf(netns: number, proto: number, port: number): Uint8Array {
  const key = new DataView(new ArrayBuffer(12));
  key.setUint32(0, netns, true);
  key.setUint16(4, 2, true);
  key.setUint8(6, proto);
  key.setUint16(8, port, true);
  return new Uint8Array(key.buffer);
}

/** The process that an entry names; 0 where there is none, or it names nobody. */
export function pidOf(entry: Uint8Array | null): number {
  return entry === null ? 0 : new DataView(entry.buffer, entry.byteOffset).getUint32(12, true);
}
