import type { Account } from '../completion.ts';
import { GLOBAL, type Limit, type Standing } from '../store/store.ts';

/** Header names in lower case, and values. */
export type LimitHeaders = Record<string, string | number>;

const NANO_PER_MICRO = 1000;

const none: LimitHeaders = {};

/**
 * The headers that tell callers how their limits stand.
 *
 * - `RateLimit-Policy` and `RateLimit` as in draft-ietf-httpapi-ratelimit-headers-11. Its quota units have neither tokens nor
 *   money: those have a parameter of our own, `gw-unit`.
 * - `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` as OpenAI has them, for its SDKs.
 *
 * A refused call is told to wait, and the draft wants no window that ends later than that: `t` is cut to it.
 */
export function limitHeaders(account: Pick<Account, 'limits' | 'waitMs'>): LimitHeaders {
  const { limits, waitMs = Number.POSITIVE_INFINITY } = account;
  if (limits === undefined || limits.length === 0) return none;
  const headers: LimitHeaders = {};
  let policies = '';
  let standings = '';
  for (const standing of limits) {
    const { limit, resetMs } = standing;
    if (limit.subject === GLOBAL) continue;
    const remaining = Math.max(0, Math.floor(inUnits(limit, standing.remaining)));
    const window = Math.min(resetMs, waitMs);
    const separator = policies === '' ? '' : ', ';
    policies += `${separator}${policyOf(limit)}`;
    standings += `${separator}"${limit.kind}";r=${remaining}${Number.isFinite(window) ? `;t=${secondsOf(window)}` : ''}`;
    if (limit.kind === 'requests' || limit.kind === 'tokens') {
      addOpenai(headers, openaiNames[limit.kind], standing, remaining);
    }
  }
  if (policies === '') return none;
  headers['ratelimit-policy'] = policies;
  headers.ratelimit = standings;
  return headers;
}

function policyOf(limit: Limit): string {
  const { kind } = limit;
  const quota = `"${kind}";q=${Math.floor(inUnits(limit, limit.capacity))}`;
  switch (kind) {
    case 'requests':
      return `${quota}${windowOf(limit.capacity / limit.refillPerMs)}`;
    case 'tokens':
      return `${quota}${windowOf(limit.capacity / limit.refillPerMs)};gw-unit="tokens"`;
    case 'concurrent':
      return `${quota};qu="concurrent-requests"`;
    case 'budget':
      return `${quota}${windowOf(limit.periodMs)};gw-unit="micro-usd"`;
  }
}

/** The time in which all of a quota comes; a bucket that nothing refills has none. */
function windowOf(ms: number): string {
  return Number.isFinite(ms) ? `;w=${Math.max(1, secondsOf(ms))}` : '';
}

/** Integers of the structured fields end at 15 digits. */
function inUnits({ kind }: Limit, amount: number): number {
  return kind === 'budget' ? amount / NANO_PER_MICRO : Math.min(amount, 999_999_999_999_999);
}

/** Limit, remaining and reset: put together for each call they would take as long as all the rest here. */
const openaiNames = { requests: openaiNamesOf('requests'), tokens: openaiNamesOf('tokens') };

function openaiNamesOf(kind: string) {
  return [`x-ratelimit-limit-${kind}`, `x-ratelimit-remaining-${kind}`, `x-ratelimit-reset-${kind}`] as const;
}

function addOpenai(
  headers: LimitHeaders,
  [limitName, remainingName, resetName]: ReturnType<typeof openaiNamesOf>,
  { limit, resetMs }: Standing,
  remaining: number,
): void {
  headers[limitName] = Math.floor(limit.capacity);
  headers[remainingName] = remaining;
  if (Number.isFinite(resetMs)) headers[resetName] = durationOf(resetMs);
}

/** Up, so that nobody comes too early; but not for the last bits of a sum of fractions. */
function secondsOf(ms: number): number {
  return Math.ceil(Math.round(ms * 1000) / 1_000_000);
}

/** As Go prints durations, and OpenAI sends them: `12ms`, `8.64s`, `6m0s`, `1h30m0s`. */
function durationOf(ms: number): string {
  const whole = Math.ceil(Math.round(ms * 1000) / 1000);
  if (whole < 1000) return `${whole}ms`;
  const seconds = (whole % 60_000) / 1000;
  const minutes = Math.floor(whole / 60_000);
  if (minutes === 0) return `${seconds}s`;
  return minutes < 60 ? `${minutes}m${seconds}s` : `${Math.floor(minutes / 60)}h${minutes % 60}m${seconds}s`;
}
