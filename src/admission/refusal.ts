import type { CallContext } from '../completion.ts';
import { GatewayError } from '../errors.ts';
import { GLOBAL, type Limit, type Taken } from '../store/store.ts';
import { showUsd } from './budget.ts';

const NANO = 1e9;
const MINUTE_MS = 60_000;
const SECOND_MS = 1000;

/** The error for a call that is refused now: whose limit it is, how much of it is left, and when this very call fits. */
export function refusalOf(taken: Taken & { admitted: false }, context: CallContext): GatewayError {
  const { refusedBy, waitMs, standings } = taken;
  const remaining = standings.find(({ limit }) => limit === refusedBy)?.remaining ?? 0;
  const reason = refusedBy.kind === 'budget' ? 'budget_exhausted' : 'rate_limited';
  const message = `${whose(refusedBy, context)} ${why(refusedBy, Math.max(0, remaining))}`;
  return new GatewayError(reason, message, {
    retryAfterMs: Number.isFinite(waitMs) ? Math.ceil(waitMs) : undefined,
    limitOf: refusedBy.subject,
  });
}

function whose({ subject, name }: Limit, { principal }: CallContext): string {
  if (subject === GLOBAL) return 'all callers together have';
  if (subject.startsWith('user:')) return 'this user has';
  const isOfUser = name.includes(':user:');
  if (subject.startsWith('address:')) {
    return isOfUser
      ? 'this user, without a key from your address, has'
      : 'callers without a key from your address have';
  }
  return isOfUser ? `this user of the key "${principal.name}" has` : `the key "${principal.name}" has`;
}

function why(limit: Limit, remaining: number): string {
  const { capacity, amount } = limit;
  switch (limit.kind) {
    case 'requests':
      return `no call left of ${capacity} at once and ${rate(limit.refillPerMs)}`;
    case 'tokens': {
      const each = `${round(limit.refillPerMs * MINUTE_MS)} tokens a minute`;
      return `${Math.floor(remaining)} tokens left of ${each}, and this call may take ${amount}`;
    }
    case 'concurrent':
      return `${capacity} calls in flight, which is the limit`;
    case 'budget': {
      const left = `${showUsd(remaining / NANO)} left of its budget of ${showUsd(capacity / NANO)}`;
      return `${left}, and this call may cost ${showUsd(amount / NANO)}`;
    }
  }
}

/** By the unit in which it is a number that people say. */
function rate(perMs: number): string {
  if (perMs === 0) return 'no more to come';
  return perMs * SECOND_MS >= 1 ? `${round(perMs * SECOND_MS)} a second` : `${round(perMs * MINUTE_MS)} a minute`;
}

function round(number: number): number {
  return Number(number.toPrecision(4));
}
