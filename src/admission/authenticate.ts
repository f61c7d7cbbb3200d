import { hash, timingSafeEqual } from 'node:crypto';
import type { Principal } from '../completion.ts';
import { GatewayError } from '../errors.ts';
import type { FailedTries } from './failed-tries.ts';
import { looksLikeToken, type Tokens } from './tokens.ts';

/** A key as the configuration knows it: only its digest. */
export interface KnownKey extends Principal {
  /** SHA-256 of the key, hexadecimal. */
  readonly sha256: string;
  /** When the key ends, in milliseconds since 1970. */
  readonly expiresAt?: number | undefined;
}

/** Reads a request header by its lower-case name. */
type HeaderReader = (name: string) => string | null | undefined;

/**
 * Tells who calls, from the request's headers and the caller's address; throws `unauthenticated` or `rate_limited`.
 *
 * Only tokens that have to be checked make it wait.
 */
export type Authenticate = (header: HeaderReader, address: string) => Principal | Promise<Principal>;

/** Who is let in. */
export interface Admitted {
  readonly keys: readonly KnownKey[];
  /** SHA-256 of the administrator's own key, hexadecimal. */
  readonly adminKeySha256?: string | undefined;
  /** Tokens that are taken beside keys; undefined: none are. */
  readonly tokens?: Tokens | undefined;
  readonly failedTries: FailedTries;
}

interface Entry {
  readonly principal: Principal;
  readonly expiresAt: number;
  readonly digest: Buffer;
}

/**
 * Authenticate callers by key: `Authorization: Bearer KEY`, or `x-api-key` or `api-key`, as clients send them.
 *
 * - What is no key, and looks like a token of an issuer, is checked as one.
 * - Without keys and issuers the gateway is open: everybody is `anonymous`. A key for the administrator alone does not close it: then
 *   whoever shows it is the administrator, and everybody else is anonymous without admin rights.
 * - Keys are looked up by their SHA-256, and digests compared in constant time: how long either takes depends on the digest alone,
 *   which tells nothing of the key, and which nobody can choose. Hashing takes 0.4 µs, so that no key need be remembered.
 * - Missing, wrong and expired keys are refused with the same words. From an address with too many of them they are
 *   `rate_limited` instead. A valid key passes even then: behind one address there may be many, and a client with an old key must
 *   not lock the others out. Guessing is no way in anyway; what the limit saves is the noise.
 */
export function authenticator({ keys, adminKeySha256, tokens, failedTries }: Admitted): Authenticate {
  const open = keys.length === 0 && tokens === undefined;
  const known = new Map<string, Entry>();
  const admin = { name: 'admin', tier: 'default', models: [], admin: true };
  const all: readonly KnownKey[] = adminKeySha256 ? [...keys, { ...admin, sha256: adminKeySha256 }] : keys;
  for (const key of all) {
    const { sha256, expiresAt = Number.POSITIVE_INFINITY, ...principal } = key;
    const digest = sha256.toLowerCase();
    known.set(digest, { principal, expiresAt, digest: Buffer.from(digest) });
  }
  const anonymous: Principal = { name: 'anonymous', tier: 'default', models: [], admin: open && !adminKeySha256 };

  return (header, address) => {
    const presented = presentedKey(header);
    if (presented !== undefined) {
      const digest = hash('sha256', presented, 'hex');
      const principal = find(digest) ?? tokens?.recall(digest);
      if (principal !== undefined) return principal;
      if (tokens && looksLikeToken(presented)) {
        return tokens.check(presented, digest).then((checked) => checked ?? refuse(address));
      }
    }
    return open ? anonymous : refuse(address);
  };

  function refuse(address: string): never {
    throw refusal(failedTries.add(address, performance.now()));
  }

  function find(digest: string): Principal | undefined {
    const found = known.get(digest);
    if (!found || !timingSafeEqual(Buffer.from(digest), found.digest)) return undefined;
    return found.expiresAt <= Date.now() ? undefined : found.principal;
  }
}

/** The key a request presents; undefined: none. */
function presentedKey(header: HeaderReader): string | undefined {
  const authorization = header('authorization');
  if (authorization) return /^Bearer +(\S+) *$/i.exec(authorization)?.[1];
  return header('x-api-key') || header('api-key') || undefined;
}

function refusal(waitMs: number | undefined): GatewayError {
  if (waitMs === undefined) {
    return new GatewayError('unauthenticated', 'a valid API key is needed: send it as "Authorization: Bearer KEY"');
  }
  const message = `too many tries without a valid API key from this address: try again in ${Math.ceil(waitMs / 1000)} s`;
  return new GatewayError('rate_limited', message, { retryAfterMs: waitMs });
}
