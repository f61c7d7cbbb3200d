import type { Limit, Reservation } from './store.ts';

/** What one call has of one limit until it is settled. */
export interface Hold {
  readonly key: string;
  readonly limit: Limit;
  expiresAt: number;
  state: 'held' | 'expired' | 'settled';
}

/** What one call has of all its limits. */
export class HeldLimits implements Reservation {
  readonly id: string;
  readonly holds: readonly Hold[];

  constructor(id: string, holds: readonly Hold[]) {
    this.id = id;
    this.holds = holds;
  }
}

/** The holds on one limit, and what has been spent of it. */
export class Holds {
  /** The sum of what is held. */
  reserved = 0;
  /** Of a budget, in its period. */
  spent = 0;
  periodEndsAt = 0;
  readonly #held = new Set<Hold>();
  #soonest = Number.POSITIVE_INFINITY;

  /** How many there are. */
  get count(): number {
    return this.#held.size;
  }

  add(hold: Hold, expiresAt: number): void {
    hold.state = 'held';
    hold.expiresAt = expiresAt;
    this.#held.add(hold);
    this.reserved += hold.limit.amount;
    this.#soonest = Math.min(this.#soonest, expiresAt);
  }

  extend(hold: Hold, expiresAt: number): void {
    hold.expiresAt = expiresAt;
    this.#soonest = Math.min(this.#soonest, expiresAt);
  }

  /** End a hold; tells what it held: nothing, if its lease was over. */
  settle(hold: Hold): number {
    const wasHeld = this.#held.delete(hold);
    hold.state = 'settled';
    if (!wasHeld) return 0;
    this.reserved -= hold.limit.amount;
    return hold.limit.amount;
  }

  /** End the holds whose lease is over; tells what they held. */
  expire(now: number): number {
    if (now < this.#soonest) return 0;
    let returned = 0;
    this.#soonest = Number.POSITIVE_INFINITY;
    for (const hold of this.#held) {
      if (hold.expiresAt > now) {
        this.#soonest = Math.min(this.#soonest, hold.expiresAt);
      } else {
        this.#held.delete(hold);
        hold.state = 'expired';
        returned += hold.limit.amount;
      }
    }
    this.reserved -= returned;
    return returned;
  }

  /** Begin a new period if the last one is over. A clock that is set back brings no period back. */
  turn(now: number, periodMs: number): void {
    if (now < this.periodEndsAt) return;
    this.spent = 0;
    this.periodEndsAt = (Math.floor(now / periodMs) + 1) * periodMs;
  }
}
