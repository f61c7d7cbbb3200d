import { GatewayError, type Reason } from '../errors.ts';
import type { Target } from '../providers/target.ts';
import type { Refusal } from './target-guard.ts';

/** A target that could not be asked, and why. */
export interface Refused {
  readonly target: Target;
  readonly refusal: Refusal;
}

const MAX_NAMED = 5;
/** When to ask again while an operator holds everything back: nobody knows. */
const HELD_MS = 10_000;

/** The word of the error table for a target that could not be asked. */
export function reasonOf({ why }: Refusal): Reason {
  return why === 'rate_limited' ? 'provider_rate_limited' : 'no_provider_available';
}

/**
 * What a call fails with when no target has answered: the first cause, with the soonest hope of all.
 *
 * A target that cannot take the request at all is the cause only where nothing else failed. Where nobody could be asked, the call
 * is limited if every target is, and otherwise there is no provider. `hopes` has for each target what it says now of when to come
 * back: its guard if that is closed, else its last error.
 */
export function failureOf(
  errors: readonly GatewayError[],
  refused: readonly Refused[],
  hopes: readonly (Pick<Refusal, 'retryAfterMs'> | undefined)[] = [...errors, ...refused.map(({ refusal }) => refusal)],
): GatewayError {
  const cause = errors.find(({ unsupported }) => !unsupported);
  const failure = cause ?? (refused.length > 0 ? nobodyAsked(refused) : (errors[0] ?? nobodyAsked(refused)));
  const soonestMs = Math.min(...hopes.flatMap((hope) => hope?.retryAfterMs || []));
  if (Number.isFinite(soonestMs)) failure.retryAfterMs = Math.ceil(soonestMs);
  else if (failure.reason === 'no_provider_available') failure.retryAfterMs = HELD_MS;
  return failure;
}

function nobodyAsked(refused: readonly Refused[]): GatewayError {
  if (refused.length === 0) return new GatewayError('no_provider_available', 'no target is left');
  const areLimited = refused.every(({ refusal }) => refusal.why === 'rate_limited');
  const why = refused
    .slice(0, MAX_NAMED)
    .map(({ target, refusal }) => `${target.provider.name}/${target.model}: ${refusal.words}`);
  if (refused.length > MAX_NAMED) why.push(`and ${refused.length - MAX_NAMED} more`);
  return new GatewayError(
    areLimited ? 'provider_rate_limited' : 'no_provider_available',
    `no provider can take this call now: ${why.join('; ')}`,
    refused.length === 1 ? { provider: refused[0]?.target.provider.name } : {},
  );
}
