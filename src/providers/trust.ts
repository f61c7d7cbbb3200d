import { readFileSync } from 'node:fs';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';

/** Trust the certificates of a PEM file beside the usual ones, in all that this process connects to from now on. */
export function trustAlso(caFile: string): void {
  const pem = readFileSync(caFile, 'utf8');
  const found = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g);
  if (!found) throw new TypeError('it holds no certificate in PEM');
  const trusted = new Set(getCACertificates('default').map((certificate) => certificate.trim()));
  // Putting them in place takes 15 ms, and in most images the file only holds what is trusted anyway.
  if (found.some((certificate) => !trusted.has(certificate))) setDefaultCACertificates([...trusted, ...found]);
}
