import { createHash, type KeyLike } from 'node:crypto';
import { UsageError } from '../../error.ts';
import { InsnSlots } from '../insn/insn.ts';
import { signDetached } from './cms.ts';
import type { LoaderProgram } from './make.ts';

/** A loader program that runs on its own data only, and signatures over it: what a kernel wants signed has changed. */
export interface SignedLoader {
  readonly loader: LoaderProgram;
  /** PKCS #7, detached, over the loader's instructions, which hold the hash of its data: what Linux 6.18 checks. */
  readonly signature: Uint8Array;
  /** PKCS #7, detached, over instructions and data: what Linux 7.3 checks. */
  readonly dataSignature: Uint8Array;
}

/**
 * Signs a loader program made with `signed`: the hash of its data goes into its instructions, which are signed. A kernel with the
 * certificate in a keyring then loads it, and with it the object, and nothing that was changed. Key and certificate are PEM
 * texts (the certificate DER as well); the key is RSA or ECDSA.
 *
 * @example
 * import { defaultKernel, makeLoader, runLoader, signLoader } from 'rawbpf';
 * import { openObject } from 'rawbpf/object';
 * export function loadSigned(object: Uint8Array, key: string, certificate: string): void {
 *   const kernel = defaultKernel();
 *   const signed = signLoader(makeLoader(kernel, openObject(object), { signed: true }), key, certificate);
 *   runLoader(kernel, signed.loader, signed).close();
 * }
 */
export function signLoader(loader: LoaderProgram, key: KeyLike, certificate: Uint8Array | string): SignedLoader {
  if (loader.hashSlots.length === 0) {
    throw new UsageError({
      code: 'E_SIGN_LOADER',
      what: 'this loader program is not made to be signed',
      next: 'make it with { signed: true }',
    });
  }
  const hash = new DataView(new Uint8Array(createHash('sha256').update(loader.data).digest()).buffer);
  const slots = new InsnSlots(loader.insns.slice());
  loader.hashSlots.forEach((slot, i) => {
    slots.setImm(slot, hash.getInt32(i * 8, true));
    slots.setImm(slot + 1, hash.getInt32(i * 8 + 4, true));
  });
  const signed = { ...loader, insns: slots.bytes };
  return {
    loader: signed,
    signature: signDetached(signed.insns, key, certificate),
    dataSignature: signDetached(Buffer.concat([signed.insns, signed.data]), key, certificate),
  };
}
