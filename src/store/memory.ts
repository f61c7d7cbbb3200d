import { BucketTable } from './bucket-table.ts';
import { HeldLimits, type Hold, Holds } from './holds.ts';
import type {
  BucketLimit,
  BudgetLimit,
  Holding,
  Limit,
  LimitStore,
  Reservation,
  Standing,
  Taken,
  Used,
} from './store.ts';
import { msToFill, TOLERANCE } from './token-bucket.ts';

/** Where budgets outlive the process. */
export interface BudgetLedger {
  load(key: string): Spending | undefined;
  save(key: string, spending: Spending): void;
}

/** What was spent of a budget in its period. */
export interface Spending {
  readonly spentNanoUsd: number;
  readonly periodEndsAt: number;
}

/** How limits are kept in memory. */
export interface MemoryLimitsOptions {
  /** How long a call may hold what it does not renew. */
  readonly leaseMs: number;
  /** Milliseconds since 1970, on a clock that never goes back. */
  readonly now?: () => number;
  /** The most token buckets that are neither full nor forgotten. The default value is a million. */
  readonly maxBuckets?: number;
  readonly ledger?: BudgetLedger | undefined;
}

/** Slots and reservations come back when somebody ends, whenever that is: it is worth another try soon. */
export const RETRY_MS = 1000;

function steadyNow(): number {
  return performance.timeOrigin + performance.now();
}

/** A limit, where it is kept, and what is left of it. */
interface Place {
  readonly key: string;
  readonly limit: Limit;
  readonly left: number;
  readonly holds: Holds | undefined;
}

function waitAt({ limit, left, holds }: Place, now: number): number {
  if (limit.amount > limit.capacity) return Number.POSITIVE_INFINITY;
  if (limit.kind === 'concurrent') return RETRY_MS;
  if (limit.kind !== 'budget') return msToFill(left, limit.amount, limit.refillPerMs);
  const { spent = 0, periodEndsAt = now } = holds ?? {};
  return spent + limit.amount <= limit.capacity ? RETRY_MS : periodEndsAt - now;
}

function standingAt({ limit, holds }: Place, remaining: number, now: number): Standing {
  if (limit.kind === 'concurrent') return { limit, remaining, resetMs: Number.POSITIVE_INFINITY };
  if (limit.kind === 'budget') return { limit, remaining, resetMs: (holds?.periodEndsAt ?? now) - now };
  return { limit, remaining, resetMs: msToFill(remaining, limit.capacity, limit.refillPerMs) };
}

/**
 * Keeps limits in memory, for one process.
 *
 * It answers at once. A million users that call now and then take about 100 MB, and as many more as come are forgotten for
 * them; see BucketTable.
 */
export class MemoryLimits implements LimitStore {
  readonly #leaseMs: number;
  readonly #now: () => number;
  readonly #ledger: BudgetLedger | undefined;
  readonly #buckets: BucketTable;
  readonly #holds = new Map<string, Holds>();
  #lastId = 0;

  constructor({ leaseMs, now = steadyNow, maxBuckets = 1_000_000, ledger }: MemoryLimitsOptions) {
    this.#leaseMs = leaseMs;
    this.#now = now;
    this.#ledger = ledger;
    this.#buckets = new BucketTable(maxBuckets);
  }

  /** How many limits have a place in memory. */
  get size(): number {
    return this.#buckets.size + this.#holds.size;
  }

  take(limits: readonly Limit[]): Taken {
    const now = this.#now();
    const places: Place[] = [];
    let refusedBy: Limit | undefined;
    let waitMs = -1;
    for (const limit of limits) {
      const place = this.#find(limit, now);
      places.push(place);
      if (place.left + TOLERANCE >= limit.amount) continue;
      const placeWaitMs = waitAt(place, now);
      if (placeWaitMs <= waitMs) continue;
      waitMs = placeWaitMs;
      refusedBy = limit;
    }
    if (refusedBy) {
      const standings = places.map((place) => standingAt(place, place.left, now));
      return { admitted: false, refusedBy, waitMs, standings };
    }
    const standings: Standing[] = [];
    const holds: Hold[] = [];
    for (const place of places) {
      const { key, limit, left } = place;
      const remaining = left - limit.amount;
      if (limit.kind === 'requests' || limit.kind === 'tokens') this.#write(key, limit, remaining, now);
      if (limit.kind !== 'requests') {
        const hold: Hold = { key, limit, expiresAt: 0, state: 'held' };
        (place.holds ?? this.#holdsOf(key, limit)).add(hold, now + this.#leaseMs);
        holds.push(hold);
      }
      standings.push(standingAt(place, remaining, now));
    }
    const reservation = holds.length === 0 ? undefined : new HeldLimits(String(++this.#lastId), holds);
    return { admitted: true, reservation, standings };
  }

  settle(reservation: Reservation, used: Used): void {
    const now = this.#now();
    for (const hold of (reservation as HeldLimits).holds) {
      if (hold.state === 'settled') continue;
      const { key, limit } = hold;
      const holds = this.#holdsOf(key, limit);
      if (limit.kind === 'budget') holds.turn(now, limit.periodMs);
      const held = holds.settle(hold);
      if (limit.kind === 'tokens') this.#add(key, limit, held - used.tokens, now);
      else if (limit.kind === 'budget') this.#spend(key, holds, used.nanoUsd);
      // What is spent of a budget has to be remembered; there are as many as keys that have one.
      if (holds.count === 0 && limit.kind !== 'budget') this.#holds.delete(key);
    }
  }

  renew(reservations: readonly Reservation[]): void {
    const now = this.#now();
    const expiresAt = now + this.#leaseMs;
    for (const reservation of reservations) {
      for (const hold of (reservation as HeldLimits).holds) {
        if (hold.state === 'settled') continue;
        const { key, limit } = hold;
        if (hold.state === 'held') {
          this.#holdsOf(key, limit).extend(hold, expiresAt);
        } else {
          if (limit.kind === 'tokens') this.#add(key, limit, -limit.amount, now);
          this.#holdsOf(key, limit).add(hold, expiresAt);
        }
      }
    }
  }

  look(limits: readonly Limit[]): Holding[] {
    const now = this.#now();
    return limits.map((limit) => {
      const place = this.#find(limit, now);
      return { ...standingAt(place, place.left, now), reserved: place.holds?.reserved ?? 0 };
    });
  }

  /** Take money that was spent without a reservation here. */
  charge(limit: BudgetLimit, nanoUsd: number): void {
    const key = `${limit.subject}/${limit.name}`;
    const holds = this.#holdsOf(key, limit);
    holds.turn(this.#now(), limit.periodMs);
    this.#spend(key, holds, nanoUsd);
  }

  async flush(): Promise<void> {}

  async close(): Promise<void> {}

  /** Find a limit, once holds whose lease is over have given back theirs. */
  #find(limit: Limit, now: number): Place {
    const key = `${limit.subject}/${limit.name}`;
    if (limit.kind === 'requests') {
      return { key, limit, left: this.#buckets.levelOf(key, limit.capacity, limit.refillPerMs, now), holds: undefined };
    }
    let holds = limit.kind === 'budget' ? this.#holdsOf(key, limit) : this.#holds.get(key);
    const returned = holds?.expire(now) ?? 0;
    if (limit.kind === 'budget') {
      holds?.turn(now, limit.periodMs);
      return { key, limit, left: limit.capacity - (holds?.spent ?? 0) - (holds?.reserved ?? 0), holds };
    }
    if (holds?.count === 0) {
      this.#holds.delete(key);
      holds = undefined;
    }
    if (limit.kind === 'concurrent') return { key, limit, left: limit.capacity - (holds?.count ?? 0), holds };
    if (returned > 0) this.#add(key, limit, returned, now);
    return { key, limit, left: this.#buckets.levelOf(key, limit.capacity, limit.refillPerMs, now), holds };
  }

  #write(key: string, { capacity, refillPerMs }: BucketLimit, level: number, now: number): void {
    this.#buckets.write(key, level, capacity, refillPerMs, now);
  }

  /** Put tokens into a bucket or take them out, whatever is in it. */
  #add(key: string, limit: BucketLimit, tokens: number, now: number): void {
    const { capacity, refillPerMs } = limit;
    const level = this.#buckets.levelOf(key, capacity, refillPerMs, now) + tokens;
    this.#write(key, limit, Math.max(-capacity, Math.min(capacity, level)), now);
  }

  #spend(key: string, holds: Holds, nanoUsd: number): void {
    holds.spent += nanoUsd;
    this.#ledger?.save(key, { spentNanoUsd: holds.spent, periodEndsAt: holds.periodEndsAt });
  }

  #holdsOf(key: string, limit: Limit): Holds {
    let holds = this.#holds.get(key);
    if (holds === undefined) {
      holds = new Holds();
      const spending = limit.kind === 'budget' ? this.#ledger?.load(key) : undefined;
      if (spending) {
        holds.spent = spending.spentNanoUsd;
        holds.periodEndsAt = spending.periodEndsAt;
      }
      this.#holds.set(key, holds);
    }
    return holds;
  }
}
