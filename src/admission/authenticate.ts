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
 * Tells who calls, from the request's headers, the caller's address and the connection, which may bring more requests; throws
 * `unauthenticated` or `rate_limited`.
 *
 * Only tokens that have to be checked make it wait.
 */
export type Authenticate = (
  header: HeaderReader,
  address: string,
  connection?: object,
) => Principal | Promise<Principal>;

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

/** The last header with a key that a connection showed, and whose it was. */
interface Shown {
  readonly authorization: string;
  readonly entry: Entry;
}

/**
 * Authenticate callers by key: `Authorization: Bearer KEY`, or `x-api-key` or `api-key`, as clients send them.
 *
 * - What is no key, and looks like a token of an issuer, is checked as one.
 * - Without keys and issuers the gateway is open: everybody is `anonymous`. A key for the administrator alone does not close it: then
 *   whoever shows it is the administrator, and everybody else is anonymous without admin rights.
 * - Keys are looked up by their SHA-256, and digests compared in constant time: how long either takes depends on the digest alone,
 *   which tells nothing of the key, and which nobody can choose.
 * - Before anything is hashed, what a connection shows is compared with the last key's that it showed, in constant time as well: to hash
 *   and look up took 1.7 of the 36 µs of a call that the cache answers. No key is kept for longer than its connection, which
 *   holds its last request anyway; and none is let in that the configuration has not, or that has expired since.
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
  const shownBy = new WeakMap<object, Shown>();

  return (header, address, connection) => {
    const authorization = header('authorization');
    const shown = connection && shownBy.get(connection);
    if (shown && authorization && areEqual(shown.authorization, authorization) && isValid(shown.entry)) {
      return shown.entry.principal;
    }
    const presented = presentedKey(authorization, header);
    if (presented !== undefined) {
      const digest = hash('sha256', presented, 'hex');
      const entry = find(digest);
      if (entry && connection && authorization) shownBy.set(connection, { authorization, entry });
      const principal = entry?.principal ?? tokens?.recall(digest);
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

  function find(digest: string): Entry | undefined {
    const found = known.get(digest);
    if (!found || !timingSafeEqual(Buffer.from(digest), found.digest)) return undefined;
    return isValid(found) ? found : undefined;
  }
}

function isValid({ expiresAt }: Entry): boolean {
  return expiresAt > Date.now();
}

/** Whether two texts are equal, in a time that depends on their lengths alone. `timingSafeEqual` wants bytes, which have to be made. */
function areEqual(one: string, other: string): boolean {
  if (one.length !== other.length) return false;
  let difference = 0;
  for (let at = 0; at < one.length; at++) difference |= one.charCodeAt(at) ^ other.charCodeAt(at);
  return difference === 0;
}

/** The key a request presents; undefined: none. */
function presentedKey(authorization: string | null | undefined, header: HeaderReader): string | undefined {
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
