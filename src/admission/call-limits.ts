import type { CompletionRequest } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { EmbeddingRequest } from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import type { CallContext, Principal } from '../completion.ts';
import { GatewayError } from '../errors.ts';
import { GLOBAL, type Limit } from '../store/store.ts';
import { type Budget, budgetLimit, showUsd } from './budget.ts';

type Request = CompletionRequest | EmbeddingRequest;

/** The limits of a class of callers; 0: no limit. */
export interface Tier {
  readonly name: string;
  /** The most calls at once, size of the bucket. */
  readonly capacity: number;
  /** Calls that come back each second. */
  readonly refillPerSecond: number;
  readonly tokensPerMinute: number;
  readonly maxConcurrent: number;
}

/** What a user is to the limits: the name of the key, the request's `user_id`, or both. */
export type LimitBy = 'key' | 'user_id' | 'key_and_user_id';

/** What a call may take at most, as far as one can tell before it is carried out. */
export interface Reserve {
  /** Estimated. */
  readonly promptTokens: number;
  /** Of all answers together: as many as the request allows, or a usual number where it leaves that to the model. */
  readonly completionTokens: number;
  /** At the dearest of the targets that it may be sent to, where it allows no bound for the longest that the model writes. */
  readonly usd: number | undefined;
  /** Where it may be sent and the price is unknown, as `provider/model`; undefined: nowhere. */
  readonly unpriced: string | undefined;
  /** Whether the request itself bounds its answers. */
  readonly bounded: boolean;
}

/** What limits are made of. */
export interface CallLimitsOptions {
  /** By name. Whoever has a tier that is not there has `default`. */
  readonly tiers: ReadonlyMap<string, Tier>;
  readonly limitBy: LimitBy;
  /** Of all callers together; 0: no limit. */
  readonly global: { readonly requestsPerMinute: number; readonly requestsPerSecond: number };
  /** By the name of the key. */
  readonly budgets: ReadonlyMap<string, Budget>;
  /** Asked only where tokens or money are limited. */
  readonly reserveFor: (request: Request, context: CallContext) => Reserve | Promise<Reserve>;
}

/** What a call takes of the limits that it has. */
export interface Demand {
  readonly limits: readonly Limit[];
  /** Undefined: neither tokens nor money are limited. */
  readonly reserve: Reserve | undefined;
}

const MINUTE_MS = 60_000;
const SECOND_MS = 1000;

/**
 * The limits of a call, and what it takes of each.
 *
 * Throws where it could never be let in, however long it waited: then waiting is not what the caller should be told.
 */
export function callLimits(options: CallLimitsOptions) {
  const { tiers, limitBy, budgets, reserveFor } = options;
  const fallback = tiers.get('default');
  if (fallback === undefined) throw new TypeError('there is no tier "default"');
  const global = globalLimits(options.global);
  /** Of keys these are the same for every call. */
  const ofKeys = new WeakMap<Principal, OwnLimits>();

  const ownLimits = (user: User, tier: Tier): Limit[] => {
    const limits: Limit[] = [bucketOf(user, tier)];
    const { subject, suffix } = user;
    const capacity = tier.maxConcurrent;
    if (capacity > 0) limits.push({ kind: 'concurrent', subject, name: `concurrent${suffix}`, capacity, amount: 1 });
    return limits;
  };
  const ownLimitsOf = (request: Request, context: CallContext, tier: Tier): OwnLimits => {
    const { principal } = context;
    const isKey = limitBy === 'key' && principal.name !== 'anonymous';
    const known = isKey ? ofKeys.get(principal) : undefined;
    if (known) return known;
    const user = userOf(limitBy, request, context);
    const own = { user, limits: ownLimits(user, tier) };
    if (isKey) ofKeys.set(principal, own);
    return own;
  };

  return (request: Request, context: CallContext): Demand | Promise<Demand> => {
    const { name, tier: tierName } = context.principal;
    const tier = tiers.get(tierName) ?? fallback;
    const budget = budgets.size === 0 ? undefined : budgets.get(name);
    const { user, limits: own } = ownLimitsOf(request, context, tier);
    const limits = [...own, ...global];
    if (tier.tokensPerMinute === 0 && budget === undefined) return { limits, reserve: undefined };
    const reserve = reserveFor(request, context);
    const withReserve = (known: Reserve) => {
      if (tier.tokensPerMinute > 0) limits.push(tokensOf(user, tier, known, request));
      if (budget) limits.push(moneyOf(context, budget, known, request));
      return { limits, reserve: known };
    };
    return reserve instanceof Promise ? reserve.then(withReserve) : withReserve(reserve);
  };
}

/** Whose limits a call takes from: a subject, and what the names of its limits end with. */
interface User {
  readonly subject: string;
  readonly suffix: string;
}

/** The limits that are of one user alone. */
interface OwnLimits {
  readonly user: User;
  readonly limits: readonly Limit[];
}

/**
 * Who the user of a call is.
 *
 * Callers without a key are told apart by their address. So are those whose request names nobody though `user_id` counts: by
 * their key, or else their address.
 */
function userOf(limitBy: LimitBy, { options }: Request, { principal, address }: CallContext): User {
  const caller = principal.name === 'anonymous' ? `address:${networkOf(address)}` : keySubject(principal.name);
  const userId = limitBy === 'key' ? '' : (options?.userId ?? '');
  if (userId === '') return { subject: caller, suffix: '' };
  if (limitBy === 'user_id') return { subject: `user:${plain(userId)}`, suffix: '' };
  return { subject: caller, suffix: `:user:${plain(userId)}` };
}

/** The subject of what a key may do and spend. */
export function keySubject(name: string): string {
  return `key:${plain(name)}`;
}

/** Stores give a meaning to some characters. */
function plain(name: string): string {
  return name.replace(/[{}%/]/g, (character) => `%${character.charCodeAt(0).toString(16)}`);
}

/** Of an IPv6 address the first half: whoever has one has all that begin alike. */
function networkOf(address: string): string {
  if (!address.includes(':')) return address;
  const [head = '', tail] = address.split('::', 2);
  const groups = head === '' ? [] : head.split(':');
  if (tail !== undefined) {
    const last = tail === '' ? [] : tail.split(':');
    while (groups.length + last.length < 8) groups.push('0');
    groups.push(...last);
  }
  return groups.slice(0, 4).join(':');
}

function bucketOf({ subject, suffix }: User, { capacity, refillPerSecond }: Tier): Limit {
  const refillPerMs = refillPerSecond / SECOND_MS;
  return { kind: 'requests', subject, name: `requests${suffix}`, capacity, refillPerMs, amount: 1 };
}

function globalLimits({ requestsPerMinute, requestsPerSecond }: CallLimitsOptions['global']): Limit[] {
  const limits: Limit[] = [];
  const add = (name: string, capacity: number, periodMs: number) => {
    const refillPerMs = capacity / periodMs;
    if (capacity > 0) limits.push({ kind: 'requests', subject: GLOBAL, name, capacity, refillPerMs, amount: 1 });
  };
  add('minute', requestsPerMinute, MINUTE_MS);
  add('second', requestsPerSecond, SECOND_MS);
  return limits;
}

function tokensOf({ subject, suffix }: User, tier: Tier, reserve: Reserve, request: Request): Limit {
  const capacity = tier.tokensPerMinute;
  const { promptTokens, completionTokens, bounded } = reserve;
  const tokens = promptTokens + completionTokens;
  // A bound that the caller did not set is no reason to refuse the call.
  const amount = bounded ? tokens : Math.max(promptTokens, Math.min(tokens, capacity));
  if (amount > capacity) {
    const most = `the ${capacity} tokens a minute of tier "${tier.name}"`;
    throw tooMuch(request, `may take ${amount} tokens, ${promptTokens} of them for its prompt: more than ${most}`, {
      isPrompt: promptTokens > capacity,
    });
  }
  const refillPerMs = capacity / MINUTE_MS;
  return { kind: 'tokens', subject, name: `tokens${suffix}`, capacity, refillPerMs, amount };
}

function moneyOf({ principal }: CallContext, budget: Budget, reserve: Reserve, request: Request): Limit {
  const { usd, unpriced, bounded } = reserve;
  if (usd === undefined) {
    const where = unpriced === undefined ? 'it' : `a call to ${unpriced}`;
    const message = `the key "${principal.name}" has a budget, and what ${where} costs is unknown`;
    throw new GatewayError('permission_denied', message, { violations: [{ field: 'model', description: message }] });
  }
  const limit = budgetLimit(keySubject(principal.name), budget, usd);
  if (limit.amount > limit.capacity) {
    const hint = bounded ? '' : '; bound the length of its answer';
    const most = `the budget of ${showUsd(budget.usd)} of the key "${principal.name}"`;
    throw tooMuch(request, `may cost ${showUsd(usd)}: more than ${most}${hint}`, { isPrompt: false });
  }
  return limit;
}

/** A call that does not fit and never will. */
function tooMuch(request: Request, why: string, { isPrompt }: { isPrompt: boolean }): GatewayError {
  const isCompletion = request.$typeName === 'llmgateway.v1.CompletionRequest';
  const field = !isCompletion ? 'inputs' : isPrompt ? 'messages' : 'max_output_tokens';
  const description = `this call ${why}`;
  return new GatewayError('invalid_request', description, { violations: [{ field, description }] });
}
