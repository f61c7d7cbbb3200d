import { GatewayError } from '../errors.ts';
import { type MemoryLimits, RETRY_MS } from './memory.ts';
import type { RedisLimits } from './redis.ts';
import { StoreAway } from './redis-guard.ts';
import type { BudgetLimit, Holding, Limit, LimitStore, Reservation, Taken, Used } from './store.ts';

/**
 * What happens to limits while the shared store is away.
 *
 * - `local`: each replica limits by itself, at its share.
 * - `closed`: calls that have limits are refused.
 * - `open`: nothing is limited.
 */
export type OutagePolicy = 'local' | 'closed' | 'open';

/** What an outage is bridged with. */
export interface OutageLimitsOptions {
  readonly shared: Pick<RedisLimits, keyof LimitStore | 'up' | 'charge'>;
  /** Keeps the limits of this replica while the shared store is away. */
  readonly own: MemoryLimits;
  readonly policy: OutagePolicy;
  /** How many replicas share the limits. */
  readonly replicas: number;
}

/** Taken without the shared store. */
class OwnReservation implements Reservation {
  readonly id: string;
  readonly inner: Reservation | undefined;
  readonly budgets: readonly BudgetLimit[];
  isSettled = false;

  constructor(inner: Reservation | undefined, budgets: readonly BudgetLimit[]) {
    this.id = `own-${inner?.id ?? ''}`;
    this.inner = inner;
    this.budgets = budgets;
  }
}

/**
 * Limits in a shared store, and what to do while it is away.
 *
 * While it is known to be away the answer is there at once. A replica's own buckets are full when an outage begins, so that one
 * outage lets in at most once more what the limits allow. Money that is spent meanwhile is told to the shared store afterwards.
 */
export class OutageLimits implements LimitStore {
  readonly #options: OutageLimitsOptions;

  constructor(options: OutageLimitsOptions) {
    this.#options = options;
  }

  take(limits: readonly Limit[]): Taken | Promise<Taken> {
    const { shared } = this.#options;
    if (!shared.up) return this.#takeAlone(limits);
    return (shared.take(limits) as Promise<Taken>).catch((error: unknown) => {
      if (!(error instanceof StoreAway)) throw error;
      return this.#takeAlone(limits);
    });
  }

  settle(reservation: Reservation, used: Used): void {
    const { shared, own } = this.#options;
    if (!(reservation instanceof OwnReservation)) {
      shared.settle(reservation, used);
      return;
    }
    if (reservation.isSettled) return;
    reservation.isSettled = true;
    if (reservation.inner) own.settle(reservation.inner, used);
    if (used.nanoUsd > 0) for (const budget of reservation.budgets) shared.charge(budget, used.nanoUsd);
  }

  renew(reservations: readonly Reservation[]): void {
    const { shared, own } = this.#options;
    shared.renew(reservations.filter((each) => !(each instanceof OwnReservation)));
    own.renew(reservations.flatMap((each) => (each instanceof OwnReservation && each.inner ? [each.inner] : [])));
  }

  /** What this replica knows alone would mislead: while the shared store is away there is no answer. */
  async look(limits: readonly Limit[]): Promise<readonly Holding[]> {
    try {
      return await this.#options.shared.look(limits);
    } catch (cause) {
      if (!(cause instanceof StoreAway)) throw cause;
      throw new GatewayError('overloaded', 'limits cannot be looked at now', { retryAfterMs: RETRY_MS, cause });
    }
  }

  flush(): Promise<void> {
    return this.#options.shared.flush();
  }

  async close(): Promise<void> {
    await this.#options.shared.close();
  }

  #takeAlone(limits: readonly Limit[]): Taken {
    const { policy, own, replicas } = this.#options;
    const budgets = limits.filter(({ kind }) => kind === 'budget') as readonly BudgetLimit[];
    if (policy === 'closed') {
      throw new GatewayError('overloaded', 'limits cannot be checked at the moment', { retryAfterMs: RETRY_MS });
    }
    if (policy === 'open') {
      const reservation = budgets.length > 0 ? new OwnReservation(undefined, budgets) : undefined;
      return { admitted: true, reservation, standings: [] };
    }
    const taken = own.take(limits.map((limit) => shareOf(limit, replicas)));
    if (taken.admitted) {
      return { ...taken, reservation: taken.reservation && new OwnReservation(taken.reservation, budgets) };
    }
    // A share may be too small for a call that fits as soon as the shared store is back.
    return Number.isFinite(taken.waitMs) ? taken : { ...taken, waitMs: RETRY_MS };
  }
}

/** The share of one replica; a call that fits into the whole must fit into the share of a bucket. */
function shareOf(limit: Limit, replicas: number): Limit {
  if (replicas === 1) return limit;
  const capacity = limit.capacity / replicas;
  switch (limit.kind) {
    case 'requests':
    case 'tokens':
      return { ...limit, capacity: Math.max(1, capacity, limit.amount), refillPerMs: limit.refillPerMs / replicas };
    case 'concurrent':
      return { ...limit, capacity: Math.max(1, Math.floor(capacity)) };
    case 'budget':
      return { ...limit, capacity: Math.max(1, Math.floor(capacity)) };
  }
}
