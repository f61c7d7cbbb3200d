import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  exportJWK,
  generateKeyPair,
  type JSONWebKeySet,
  type JWTHeaderParameters,
  type JWTPayload,
  SignJWT,
} from 'jose';

/** A pair of keys, of which the public one can be published. */
export interface SigningKey {
  readonly kid: string;
  readonly alg: string;
  readonly privateKey: CryptoKey;
  readonly publicJwk: JSONWebKeySet['keys'][number];
}

/** Make a pair of keys for an algorithm. */
export async function signingKey(kid: string, alg = 'ES256'): Promise<SigningKey> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  return { kid, alg, privateKey, publicJwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' } };
}

/** Sign a token with claims, which ends in an hour unless they say otherwise. */
export function sign(key: SigningKey, claims: JWTPayload, header: Partial<JWTHeaderParameters> = {}): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  return new SignJWT({ exp: now + 3600, iat: now, ...claims })
    .setProtectedHeader({ alg: key.alg, kid: key.kid, ...header })
    .sign(key.privateKey);
}

/** An issuer's key set on a port of loopback. */
export interface TestIssuer {
  readonly jwksUrl: string;
  /** What it publishes; tests change it. */
  readonly keys: JSONWebKeySet['keys'];
  /** What it answers instead of its keys; undefined: its keys. `silence`: nothing at all. */
  trouble: number | 'silence' | 'garbage' | undefined;
  /** How often it was asked. */
  readonly fetches: number;
  close(): Promise<void>;
}

/** Start a server that publishes these keys. */
export async function startIssuer(...keys: readonly SigningKey[]): Promise<TestIssuer> {
  let fetches = 0;
  const server = createServer((_request, response) => {
    fetches++;
    if (issuer.trouble === 'silence') return;
    if (typeof issuer.trouble === 'number') return response.writeHead(issuer.trouble, { location: '/' }).end();
    response.setHeader('content-type', 'application/json');
    response.end(issuer.trouble === 'garbage' ? '<html>' : JSON.stringify({ keys: issuer.keys }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const issuer: TestIssuer = {
    jwksUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}/.well-known/jwks.json?v=1`,
    keys: keys.map(({ publicJwk }) => publicJwk),
    trouble: undefined,
    get fetches() {
      return fetches;
    },
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
  return issuer;
}
