import { decodeJwt, errors, type JWTPayload, type JWTVerifyOptions, jwtVerify } from 'jose';
import type { Logger } from 'pino';
import type { Principal } from '../completion.ts';
import { GatewayError } from '../errors.ts';
import { type ClaimNames, principalFrom } from './claims.ts';
import type { FindKey, KeySet } from './key-set.ts';

/** Whose tokens are taken, and what has to be right about them. */
export interface Issuer {
  /** As `iss` says. */
  readonly issuer: string;
  /** What `aud` must say, alone or among others. */
  readonly audience: string;
  readonly keySet: KeySet;
  readonly algorithms: readonly string[];
  readonly clockToleranceMs: number;
  readonly claims: ClaimNames;
}

/** Tells who calls from tokens (JWT) that issuers have signed. */
export interface Tokens {
  /** Who it was that a token with this digest told of, a short while ago; undefined: it has to be checked. */
  recall(digest: string): Principal | undefined;
  /** Check a token; undefined: it is not valid. Throws where it cannot be checked, or allows nothing. */
  check(token: string, digest: string): Promise<Principal | undefined>;
}

const REMEMBERED = 10_000;
/** A key that its issuer withdrew opens nothing more after this time and that by which key sets are renewed. */
const REMEMBERED_MS = 10 * 60_000;

const tokenForm = /^[\w-]+\.[\w-]+\.[\w-]+$/;

/** Whether a text has the form of a signed token. One that is not signed at all has none. */
export function looksLikeToken(text: string): boolean {
  return tokenForm.test(text);
}

/**
 * Check tokens of some issuers.
 *
 * What a token says of itself is believed for one thing only, to know whose keys to check it with. Which algorithms are taken is the
 * configuration's word: all have public keys, so that no token can be signed with what everybody can read. A token must end some day,
 * and be meant for us. Checking one takes 100 to 250 µs, so that its digest is remembered until it ends, or ten minutes.
 */
export function createTokens(issuers: readonly Issuer[], tiers: ReadonlySet<string>, log: Logger): Tokens {
  /** In the order in which they came. */
  const remembered = new Map<string, { readonly principal: Principal; readonly until: number }>();

  return {
    recall(digest) {
      const known = remembered.get(digest);
      if (known === undefined) return undefined;
      if (known.until > Date.now()) return known.principal;
      remembered.delete(digest);
      return undefined;
    },

    async check(token, digest) {
      const issuer = issuerOf(token, issuers);
      if (!issuer) return undefined;
      try {
        const claims = await verify(token, issuer);
        const principal = principalFrom(claims, issuer.claims, tiers);
        if (principal) remember(digest, principal, (claims.exp ?? 0) * 1000 + issuer.clockToleranceMs);
        else log.debug({ issuer: issuer.issuer, claim: issuer.claims.name }, 'a token has no name that can be used');
        return principal;
      } catch (error) {
        if (error instanceof GatewayError) throw error;
        if (!(error instanceof errors.JOSEError)) {
          log.error({ issuer: issuer.issuer, error: String(error) }, 'a token could not be checked');
          throw GatewayError.from(error);
        }
        const claim = error instanceof errors.JWTClaimValidationFailed ? error.claim : undefined;
        log.debug({ issuer: issuer.issuer, code: error.code, claim }, 'a token is not valid');
        return undefined;
      }
    },
  };

  function remember(digest: string, principal: Principal, endsAt: number): void {
    if (remembered.size >= REMEMBERED) {
      for (const oldest of remembered.keys()) {
        remembered.delete(oldest);
        break;
      }
    }
    remembered.set(digest, { principal, until: Math.min(endsAt, Date.now() + REMEMBERED_MS) });
  }
}

/** The issuer that an unchecked token names, if it is one of ours, and we are whom the token is for. */
function issuerOf(token: string, issuers: readonly Issuer[]): Issuer | undefined {
  try {
    const { iss, aud } = decodeJwt(token);
    return issuers.find(({ issuer, audience }) => issuer === iss && [aud].flat().includes(audience));
  } catch {
    return undefined;
  }
}

async function verify(token: string, issuer: Issuer): Promise<JWTPayload> {
  const known = await issuer.keySet.current();
  try {
    return await verifyWith(known, token, issuer);
  } catch (error) {
    if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
    const newer = await issuer.keySet.newerThan(known);
    if (!newer) throw error;
    return verifyWith(newer, token, issuer);
  }
}

async function verifyWith(
  findKey: FindKey,
  token: string,
  { issuer, audience, algorithms, clockToleranceMs }: Issuer,
): Promise<JWTPayload> {
  const options: JWTVerifyOptions = {
    issuer,
    audience,
    algorithms: [...algorithms],
    clockTolerance: clockToleranceMs / 1000,
    requiredClaims: ['exp'],
  };
  try {
    return (await jwtVerify(token, findKey, options)).payload;
  } catch (error) {
    if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error;
    // The token does not name its key, and several would do.
    for await (const key of error) {
      const verified = await jwtVerify(token, key, options).catch(unlessSignedByAnother);
      if (verified) return verified.payload;
    }
    throw new errors.JWSSignatureVerificationFailed();
  }
}

function unlessSignedByAnother(error: unknown): undefined {
  if (!(error instanceof errors.JWSSignatureVerificationFailed)) throw error;
}
