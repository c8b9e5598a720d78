import t from 'tap';
import { signDetached } from '../../../src/bpf/loader-program/cms.ts';
import { UsageError } from '../../../src/error.ts';

t.test('a key or certificate that is none is told as such', (t) => {
  for (const garbage of ['', 'garbage', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n']) {
    const signed = (): Uint8Array => signDetached(new Uint8Array(8), garbage, garbage);
    t.throws(signed, UsageError);
    t.throws(signed, { code: 'E_SIGN_KEY', message: /^the certificate cannot be read: .*; give it as PEM or DER$/ });
  }
  t.end();
});
