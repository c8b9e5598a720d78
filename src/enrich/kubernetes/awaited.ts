import type { PodObject } from './objects.ts';

/** For so long after a pod was given to a node its address is expected. */
const podMs = 30_000;
/** So long an address that nobody has may become one's: kubelets tell a new pod's address about a second after its first packet. */
const holdMs = 2_000;
/** An address that stayed nobody's is not waited for again for so long. */
const restMs = 30_000;
const maxAddresses = 4096;

/** Which addresses may be a new pod's in a moment: asked while pods have been given to nodes and have no address yet. */
export class AwaitedAddresses {
  readonly #pods = new Set<string>();
  /** When the last of them is expected no more. */
  #until = 0;
  readonly #asked = new Map<string, number>();

  /** What became of a pod, null for one that is gone; true for one that was awaited, and is no more. */
  changed(uid: string, pod: PodObject | null, now: number): boolean {
    if (pod === null || !pod.waits) return this.#pods.delete(uid);
    if (!this.#pods.has(uid)) this.#until = now + podMs;
    this.#pods.add(uid);
    return false;
  }

  /** Whether any pod's address is expected. */
  any(now: number): boolean {
    return this.#pods.size > 0 && now < this.#until;
  }

  /** Whether it is worth waiting for this address, which is nobody's. */
  isAwaited(address: string, now: number): boolean {
    if (isNobodys(address) || !this.any(now)) return false;
    const since = this.#asked.get(address);
    if (since !== undefined && now - since < holdMs) return true;
    if (since !== undefined && now - since < restMs) return false;
    this.#asked.delete(address);
    // The oldest first: what was asked last is waited for.
    for (const oldest of this.#asked.keys()) {
      if (this.#asked.size < maxAddresses) break;
      this.#asked.delete(oldest);
    }
    this.#asked.set(address, now);
    return true;
  }
}

/** No pod has such an address: loopback, link-local, none. */
function isNobodys(address: string): boolean {
  return address === '' || /^(?:127\.|0\.|169\.254\.|::1?$|fe[89ab])/.test(address.replace(/^::ffff:(?=\d+\.)/, ''));
}
