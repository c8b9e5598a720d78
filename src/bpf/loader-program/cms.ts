import { createPrivateKey, type KeyLike, sign, X509Certificate } from 'node:crypto';
import { FormatError, UsageError } from '../../error.ts';

/** DER tags. */
const TAG = { integer: 0x02, octets: 0x04, null: 0x05, oid: 0x06, sequence: 0x30, set: 0x31, explicit0: 0xa0 } as const;

/** Object identifiers, already in DER. */
const OID = {
  /** 1.2.840.113549.1.7.1 and .2 (RFC 5652). */
  data: [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01],
  signedData: [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02],
  /** 2.16.840.1.101.3.4.2.1 */
  sha256: [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01],
  /** 1.2.840.113549.1.1.1 (RFC 8017) and 1.2.840.10045.4.3.2 (RFC 5758). */
  rsa: [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01],
  ecdsaSha256: [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02],
} as const;

function readPart<T>(what: 'certificate' | 'key', format: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new UsageError({ code: 'E_SIGN_KEY', what: `the ${what} cannot be read`, why, next: `give it as ${format}`, cause });
  }
}

/**
 * A detached PKCS #7 signature (CMS SignedData, RFC 5652) with SHA-256, no certificates and no attributes: what the kernel takes for
 * programs and modules. Keys are RSA or ECDSA.
 */
export function signDetached(data: Uint8Array, key: KeyLike, certificate: Uint8Array | string): Uint8Array {
  const cert = readPart('certificate', 'PEM or DER', () => new X509Certificate(certificate));
  const privateKey = readPart('key', 'PEM', () => createPrivateKey(key as Parameters<typeof createPrivateKey>[0]));
  if (!cert.checkPrivateKey(privateKey)) {
    throw new UsageError({ code: 'E_SIGN_KEY', what: 'the key is not the one that the certificate is for' });
  }
  const algorithm = signatureAlgorithm(privateKey.asymmetricKeyType);
  const digest = der(TAG.sequence, der(TAG.oid, Uint8Array.from(OID.sha256)), der(TAG.null));
  const signer = der(
    TAG.sequence,
    der(TAG.integer, Uint8Array.of(1)),
    issuerAndSerial(new Uint8Array(cert.raw)),
    digest,
    algorithm,
    der(TAG.octets, new Uint8Array(sign('sha256', data, privateKey))),
  );
  const signed = der(
    TAG.sequence,
    der(TAG.integer, Uint8Array.of(1)),
    der(TAG.set, digest),
    der(TAG.sequence, der(TAG.oid, Uint8Array.from(OID.data))),
    der(TAG.set, signer),
  );
  return der(TAG.sequence, der(TAG.oid, Uint8Array.from(OID.signedData)), der(TAG.explicit0, signed));
}

function signatureAlgorithm(type: string | undefined): Uint8Array {
  if (type === 'rsa') return der(TAG.sequence, der(TAG.oid, Uint8Array.from(OID.rsa)), der(TAG.null));
  if (type === 'ec') return der(TAG.sequence, der(TAG.oid, Uint8Array.from(OID.ecdsaSha256)));
  throw new UsageError({
    code: 'E_SIGN_KEY',
    what: 'keys of this kind cannot sign',
    where: { type: type ?? 'unknown' },
    next: 'use RSA or ECDSA',
  });
}

/** One element: tag, length, contents. */
function der(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const head = [tag];
  if (length < 0x80) head.push(length);
  else {
    const bytes: number[] = [];
    for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
    head.push(0x80 | bytes.length, ...bytes);
  }
  const result = new Uint8Array(head.length + length);
  result.set(head);
  let at = head.length;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}

/** Issuer and serial number of a certificate (RFC 5280), as they stand there. */
function issuerAndSerial(certificate: Uint8Array): Uint8Array {
  const body = element(certificate, element(certificate, 0).start);
  let next = element(certificate, body.start);
  // The version is there unless it is 1.
  if (certificate[body.start] === TAG.explicit0) next = element(certificate, next.end);
  const serial = certificate.subarray(next.at, next.end);
  const algorithm = element(certificate, next.end);
  const issuer = element(certificate, algorithm.end);
  return der(TAG.sequence, certificate.subarray(issuer.at, issuer.end), serial);
}

function element(bytes: Uint8Array, at: number): { readonly at: number; readonly start: number; readonly end: number } {
  const first = bytes[at + 1] ?? 0;
  const count = first < 0x80 ? 0 : first & 0x7f;
  let length = first;
  if (count > 0) {
    length = 0;
    for (let i = 0; i < count; i++) length = length * 256 + (bytes[at + 2 + i] ?? 0);
  }
  const start = at + 2 + count;
  if (start + length > bytes.length) throw new FormatError({ code: 'E_CERTIFICATE', what: 'malformed certificate', where: { offset: at } });
  return { at, start, end: start + length };
}
