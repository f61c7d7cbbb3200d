import { createHash } from 'node:crypto';
import type { Principal } from '../completion.ts';
import { GatewayError } from '../errors.ts';

/** A key as the configuration knows it: only its digest. */
export interface KnownKey extends Principal {
  /** SHA-256 of the key, lower-case hexadecimal. */
  readonly sha256: string;
  /** When the key ends, in milliseconds since 1970. */
  readonly expiresAt?: number | undefined;
}

/** Tells who calls, from the request's headers; throws `unauthenticated`. */
export type Authenticate = (header: (name: string) => string | null | undefined) => Principal;

const MAX_KEY_LENGTH = 4096;
const REMEMBERED = 1000;

/**
 * Authenticate callers by key: `Authorization: Bearer KEY`, or `x-api-key` or `api-key`, as clients send them.
 *
 * - Without keys the gateway is open: everybody is `anonymous`. A key for the administrator alone does not close it: then
 *   whoever shows it is the administrator, and everybody else is anonymous without admin rights.
 * - Keys are looked up by their SHA-256 in a map, so that what the comparison takes tells nothing of the key.
 * - Missing, wrong and expired keys are refused with the same words.
 * - Digests of keys that were accepted are remembered, as hashing costs more than all else here.
 */
export function authenticator(keys: readonly KnownKey[], adminKeySha256?: string): Authenticate {
  const open = keys.length === 0;
  const known = new Map<string, KnownKey>();
  for (const key of keys) known.set(key.sha256.toLowerCase(), key);
  if (adminKeySha256) {
    known.set(adminKeySha256.toLowerCase(), {
      name: 'admin',
      tier: 'default',
      models: [],
      admin: true,
      sha256: adminKeySha256,
    });
  }
  const anonymous: Principal = { name: 'anonymous', tier: 'default', models: [], admin: open && !adminKeySha256 };
  const accepted = new Map<string, KnownKey>();

  return (header) => {
    const presented = presentedKey(header);
    if (presented === undefined) {
      if (open) return anonymous;
      throw refusal();
    }
    let key = accepted.get(presented);
    if (!key) {
      key = presented.length <= MAX_KEY_LENGTH ? known.get(digest(presented)) : undefined;
      if (!key) {
        if (open) return anonymous;
        throw refusal();
      }
      if (accepted.size >= REMEMBERED) accepted.clear();
      accepted.set(presented, key);
    }
    if (key.expiresAt !== undefined && key.expiresAt <= Date.now()) throw refusal();
    return key;
  };
}

/** The key a request presents; undefined: none. */
function presentedKey(header: (name: string) => string | null | undefined): string | undefined {
  const authorization = header('authorization');
  if (authorization) {
    const match = /^Bearer +(\S+) *$/i.exec(authorization);
    return match?.[1] ?? '';
  }
  return header('x-api-key') || header('api-key') || undefined;
}

function digest(key: string): string {
  return createHash('sha256').update(key).digest('hex');
}

function refusal(): GatewayError {
  return new GatewayError('unauthenticated', 'a valid API key is needed: send it as "Authorization: Bearer KEY"');
}
