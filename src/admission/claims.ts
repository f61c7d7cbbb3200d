import type { JWTPayload } from 'jose';
import type { Principal } from '../completion.ts';
import { GatewayError } from '../errors.ts';

/** Which claims of an issuer's tokens say what. */
export interface ClaimNames {
  readonly name: string;
  /** Put before the name. */
  readonly namePrefix: string;
  /** Empty: everybody is of the default tier. */
  readonly tier: string;
  /** Empty: everything may be called. */
  readonly models: string;
  /** Empty: nobody is an administrator. */
  readonly admin: string;
  /** What the admin claim must be, or hold. */
  readonly adminValue: string;
}

/** Names go into logs, metrics and stores: what URLs, addresses and ids consist of, and nothing that means something there. */
const usableName = /^[\w.@:|/+=~-]{1,256}$/;

/** Who a token's claims say is calling; undefined: they do not say so. Throws `permission_denied` if they allow nothing. */
export function principalFrom(
  claims: JWTPayload,
  names: ClaimNames,
  tiers: ReadonlySet<string>,
): Principal | undefined {
  const value = claimAt(claims, names.name);
  const own = typeof value === 'number' ? String(value) : value;
  if (typeof own !== 'string' || own === '') return undefined;
  const name = names.namePrefix + own;
  if (!usableName.test(name)) return undefined;
  const tier = names.tier === '' ? undefined : claimAt(claims, names.tier);
  return {
    name,
    tier: typeof tier === 'string' && tiers.has(tier) ? tier : 'default',
    models: names.models === '' ? [] : modelsIn(claimAt(claims, names.models), names.models),
    admin: names.admin !== '' && textsIn(claimAt(claims, names.admin)).includes(names.adminValue),
  };
}

/** A claim by its name, or else by its path: names of claims may have dots, as those that are URLs do. */
function claimAt(claims: JWTPayload, path: string): unknown {
  if (Object.hasOwn(claims, path)) return claims[path];
  let value: unknown = claims;
  for (const step of path.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined;
    value = (value as Record<string, unknown>)[step];
  }
  return value;
}

/** To a Principal no models are all: a token that has none must not become one that may call everything. */
function modelsIn(value: unknown, claim: string): readonly string[] {
  const models = typeof value === 'string' ? value.split(/\s+/) : textsIn(value);
  const given = models.filter((model) => model !== '');
  if (given.length > 0) return given;
  throw new GatewayError('permission_denied', `the token's claim ${JSON.stringify(claim)} has no model to call`);
}

/** A value, or the members of a list, that are texts, numbers, or yes and no. */
function textsIn(value: unknown): string[] {
  const all: readonly unknown[] = Array.isArray(value) ? value : [value];
  return all.filter((each) => /^(?:string|number|boolean)$/.test(typeof each)).map(String);
}
