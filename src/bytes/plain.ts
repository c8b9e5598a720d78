/**
 * The same bytes as a plain Uint8Array: Node's Buffer is a subclass whose `slice` does not copy, and code below must
 * not depend on which one it was given.
 */
export function plainBytes(bytes: Uint8Array): Uint8Array {
  if (Object.getPrototypeOf(bytes) === Uint8Array.prototype) return bytes;
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
